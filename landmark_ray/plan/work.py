"""The work of each stage in its own unit, cut into the pieces that no two workers share."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from landmark_ray.config import Config
from landmark_ray.data.examples import BACKGROUND_VALIDATION
from landmark_ray.plan.fit import Weights
from landmark_ray.plan.shares import Flow, Shares, flow_of, pairs_of
from landmark_ray.plan.workload import Workload

SOFTMAX = 390_000.0
"""Features times landmarks at which a head takes twice as long for a vector as the smallest.

Measured on a core, batches of 64 of 2,048 features: 0.040 ms a vector for 10 landmarks, 0.27 for
1,000, 1.03 for 5,000, 4.2 for 20,000.
"""


@dataclass(frozen=True)
class Work:
    """Work of a stage.

    Attributes:
        unit: what is counted.
        weights: [N] of each piece, in units that one core takes equally long for.
        networks: the share of it, or [N] of each piece, that a GPU takes off the cores.
        trainings: whether each piece is a training, with a worker to start for it.
        counts: [N] units of each piece, where weights are no plain count.
    """

    unit: str
    weights: Weights
    networks: "float | Weights" = 0.0
    trainings: bool = False
    counts: Weights | None = None

    @property
    def total(self) -> float:
        """Of all pieces."""
        return float(self.weights.sum())

    @property
    def units(self) -> Weights:
        """[N] of each piece, as they are counted."""
        return self.weights if self.counts is None else self.counts


@dataclass(frozen=True)
class Job:
    """A run to be: its options, its data, and what is expected of them."""

    config: Config
    data: Workload
    shares: Shares
    flow: Flow

    @classmethod
    def of(cls, config: Config, data: Workload, shares: Shares) -> "Job":
        """With the flow that follows."""
        return cls(config, data, shares, flow_of(data, shares, config))

    def by_shard(self, images: np.ndarray) -> Weights:
        """[S] images of each shard, of those [C] of each class."""
        return np.bincount(self.data.shard, images, self.data.shards).astype(float)


def work_of(stage: str, job: Job) -> Work:
    """The work of a stage."""
    return WORK[stage](job)


def amount_of(stage: str, job: Job) -> float:
    """What the size of a stage's tables follows: its work, or the landmarks of its models."""
    if stage in ("train", "export"):
        return float((job.flow.group > 0).sum())
    if stage == "finetune":
        return float(len(work_of(stage, job).weights))
    return 0.0 if stage == "trunk" else work_of(stage, job).total


def pieces_of(stage: str, job: Job) -> float:
    """What the number of a stage's files follows: shards, or trainings."""
    if stage in ("train", "finetune"):
        return float(len(work_of(stage, job).weights))
    return float({"sample": job.data.buckets, "trunk": 1, "export": 1}.get(stage, job.data.shards))


def _listed(job: Job) -> Work:
    return Work("rows", np.array([float(job.data.listed)]))


def _archives(job: Job) -> Work:
    """Images, as the archives' bytes are."""
    share = job.data.archives / max(job.data.archives.sum(), 1)
    return Work("images", share * job.data.images)


def _usable(job: Job) -> Work:
    return Work("images", job.by_shard(job.flow.usable))


def _pairs(job: Job) -> Work:
    """Pairs by shard; classes with many are cut into parts of their own."""
    tried = pairs_of(job.flow, job.shares.tries, job.config)
    most = job.config.match.task_pairs
    n = job.flow.usable.astype(float)
    large = n * (n - 1) / 2 > most
    count = np.ceil(np.maximum(tried[large], 1) / most).astype(int)
    parts = np.repeat(tried[large] / count, count)
    return Work("pairs", np.concatenate([job.by_shard(np.where(large, 0, tried)), parts]))


def _extracted(job: Job) -> Work:
    delf = job.config.extract.extractor == "delf"
    return Work("images", job.by_shard(job.flow.usable), networks=float(delf))


def _detected(job: Job) -> Work:
    if not job.config.detect.handle:
        return Work("images", np.zeros(0))
    return Work("images", job.by_shard(job.flow.kept), networks=1.0)


def _resized(job: Job) -> Work:
    """What stays, and the background that is dealt to all shards alike."""
    own = job.by_shard(job.flow.examples)
    return Work("images", own + job.flow.background / len(own))


def _examples(job: Job) -> Work:
    return Work("images", job.by_shard(job.flow.examples))


def _vectors(job: Job) -> Work:
    own = _resized(job).weights
    total = job.flow.vectors(job.config)
    return Work("vectors", own * total / max(own.sum(), 1), networks=1.0)


def _trunk(job: Job) -> Work:
    """One training on all landmarks' photos, where there are no weights."""
    train = job.config.train
    if not train.from_scratch:
        return Work("epochs", np.zeros(0))
    seen = float(job.flow.examples.sum()) * train.trunk_epochs
    return Work("photos seen", np.array([seen]), networks=1.0)


def _groups(job: Job) -> list[int]:
    return sorted(set(job.flow.group[job.flow.group > 0].tolist()))


def _heads(job: Job) -> Work:
    """For each group all vectors that it learns from in all epochs; its own ones twice.

    The second head, by the reference's rule, sees no others.
    """
    train = job.config.train
    learns = job.flow.examples - job.flow.validating(job.config)
    background = (1 - BACKGROUND_VALIDATION) * job.flow.background
    seen, softmax = [], []
    for group in _groups(job):
        here = job.flow.group == group
        own = float(learns[here].sum())
        others = min(float(learns.sum()) - own + background, train.others)
        vectors = 2 * own + (others if train.other_share else 0)
        seen.append(vectors * train.views * train.head_epochs)
        softmax.append(job.shares.features * float(here.sum()) / SOFTMAX)
    weights, dear = np.array(seen), np.array(softmax)
    parts = {"networks": dear / (1 + dear), "trainings": True, "counts": weights}
    return Work("vectors seen", weights * (1 + dear), **parts)


def _finetuned(job: Job) -> Work:
    """For each group its photos and others, in as many epochs as there are at most."""
    train = job.config.train
    if "finetune" not in train.phases:
        return Work("photos seen", np.zeros(0), trainings=True)
    weights = []
    for group in _groups(job):
        own = float(job.flow.examples[job.flow.group == group].sum())
        rest = float(job.flow.examples.sum()) - own + job.flow.background
        share = train.other_share
        others = min(max(own * share / (1 - share), 1000), rest, train.others) if share else 0.0
        weights.append((own + others) * train.epochs)
    return Work("photos seen", np.array(weights), networks=1.0, trainings=True)


def _validated(job: Job) -> Work:
    """Photos that all models judge; those of the test set, too."""
    own = job.by_shard(job.flow.validating(job.config))
    background = BACKGROUND_VALIDATION * job.flow.background
    tests = np.array([float(job.data.tests)])
    images = np.concatenate([own + background / len(own), tests])
    return Work("images", images, networks=1.0)


def _nothing(job: Job) -> Work:
    return Work("", np.zeros(0))


WORK: dict[str, Callable[[Job], Work]] = {
    "sample": _listed,
    "ingest": _archives,
    "dedupe": _usable,
    "extract": _extracted,
    "match": _pairs,
    "prune": _usable,
    "detect": _detected,
    "clean": _usable,
    "group": _examples,
    "resize": _resized,
    "trunk": _trunk,
    "embed": _vectors,
    "train": _heads,
    "finetune": _finetuned,
    "evaluate": _validated,
    "export": _nothing,
}

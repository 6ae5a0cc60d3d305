"""The work of each stage, in its own unit, cut into the pieces that its workers are given."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from landmark_ray.config import Config
from landmark_ray.cost.volumes import (
    Counts,
    Floats,
    Rates,
    StageVolumes,
    Workload,
    expected_pairs,
    expected_volumes,
)
from landmark_ray.data.examples import BACKGROUND_VALIDATION

SOFTMAX = 390_000.0
"""Features times landmarks at which a head takes twice as long for a vector as the smallest head.

Measured on a core, batches of 64 of 2,048 features: 0.040 ms a vector for 10 landmarks, 0.27 for
1,000, 1.03 for 5,000, 4.2 for 20,000.
"""


@dataclass(frozen=True)
class Work:
    """The work of a stage."""

    unit: str  # what is counted
    weights: Floats  # [N] of each piece, in units that take a core equally long
    gpu_share: float | Floats = 0.0  # of the work that a GPU takes off the cores, or [N] shares
    counts: Floats | None = None  # [N] units of each piece, where they don't take equally long

    @property
    def total(self) -> float:
        """Weight of all pieces."""
        return float(self.weights.sum())

    @property
    def units(self) -> Floats:
        """[N] units of each piece."""
        return self.weights if self.counts is None else self.counts


@dataclass(frozen=True)
class PlannedRun:
    """A run: its options, its data, and what is expected of the photos."""

    config: Config
    data: Workload
    rates: Rates
    volumes: StageVolumes
    pairs: int | None = None  # that `match` tried, where the run is over

    @classmethod
    def of(cls, config: Config, data: Workload, rates: Rates) -> "PlannedRun":
        """A run with the volumes that are expected by the rates."""
        return cls(config, data, rates, expected_volumes(data, rates, config))

    @property
    def groups(self) -> list[int]:
        """Numbers of the groups that have landmarks."""
        return sorted(set(self.volumes.group[self.volumes.group > 0].tolist()))

    def by_shard(self, images: Counts | Floats) -> Floats:
        """[S] photos of each shard, from [C] photos of each landmark."""
        return np.bincount(self.data.shard, images, self.data.shards).astype(float)

    def with_background(self, images: Counts, background: float) -> Floats:
        """[S] photos of each shard; the background is spread evenly over the shards."""
        own = self.by_shard(images)
        return own + background / len(own)


def work_of(stage: str, run: PlannedRun) -> Work:
    """The work of a stage."""
    return WORK[stage](run)


def table_rows(stage: str, run: PlannedRun) -> float:
    """The number that the bytes of a stage's tables grow with."""
    if stage in ("train", "export"):
        return float((run.volumes.group > 0).sum())  # the landmarks that a model knows
    if stage == "finetune":
        return float(len(work_of(stage, run).weights))
    return 0.0 if stage == "trunk" else work_of(stage, run).total


def file_pieces(stage: str, run: PlannedRun) -> float:
    """The number that the files of a stage grow with: shards, trainings or folders."""
    if stage in ("train", "finetune"):
        return float(len(work_of(stage, run).weights))
    return float({"sample": run.data.buckets, "trunk": 1, "export": 1}.get(stage, run.data.shards))


def _images(run: PlannedRun, images: Counts, gpu_share: float = 0.0) -> Work:
    return Work("images", run.by_shard(images), gpu_share)


def _nothing(unit: str = "") -> Work:
    return Work(unit, np.zeros(0))


def _archives(run: PlannedRun) -> Work:
    """The photos, in the proportion of the archives' bytes."""
    archives = run.data.archives
    return Work("images", archives / max(archives.sum(), 1) * run.data.images)


def _extracted(run: PlannedRun) -> Work:
    delf = run.config.extract.extractor == "delf"
    return _images(run, run.volumes.usable, gpu_share=float(delf))


def _detected(run: PlannedRun) -> Work:
    if not run.config.detect.handle:
        return _nothing("images")
    return _images(run, run.volumes.kept, gpu_share=1.0)


def _pairs(run: PlannedRun) -> Work:
    """Pairs by shard; landmarks with many pairs are cut into pieces of their own."""
    pairs = expected_pairs(run.volumes, run.rates.tries, run.config)
    if run.pairs is not None:
        pairs = pairs * run.pairs / max(pairs.sum(), 1)
    most = run.config.match.task_pairs
    n = run.volumes.usable.astype(float)
    large = n * (n - 1) / 2 > most
    pieces = np.ceil(np.maximum(pairs[large], 1) / most).astype(int)
    cut = np.repeat(pairs[large] / pieces, pieces)
    return Work("pairs", np.concatenate([run.by_shard(np.where(large, 0, pairs)), cut]))


def _resized(run: PlannedRun) -> Work:
    return Work("images", run.with_background(run.volumes.examples, run.volumes.background))


def _vectors(run: PlannedRun) -> Work:
    images = _resized(run).weights
    each = run.volumes.vectors(run.config) / max(images.sum(), 1)
    return Work("vectors", images * each, gpu_share=1.0)


def _trunk(run: PlannedRun) -> Work:
    """One training on the photos of all landmarks, where the trunk has no weights yet."""
    train = run.config.train
    if not train.from_scratch:
        return _nothing("epochs")
    seen = float(run.volumes.examples.sum()) * train.trunk_epochs
    return Work("photos seen", np.array([seen]), gpu_share=1.0)


def _heads(run: PlannedRun) -> Work:
    """For each group the vectors that its head sees in all epochs.

    A group's own vectors count twice: a second head, the closed one, sees them and no others.
    """
    train, volumes = run.config.train, run.volumes
    learns = volumes.examples - volumes.validation(run.config)
    background = (1 - BACKGROUND_VALIDATION) * volumes.background
    seen, softmax = [], []
    for group in run.groups:
        members = volumes.group == group
        own = float(learns[members].sum())
        others = min(float(learns.sum()) - own + background, train.others)
        vectors = 2 * own + (others if train.other_share else 0)
        seen.append(vectors * train.views * train.head_epochs)
        softmax.append(run.rates.features * float(members.sum()) / SOFTMAX)
    counts, extra = np.array(seen), np.array(softmax)
    return Work("vectors seen", counts * (1 + extra), extra / (1 + extra), counts)


def _finetuned(run: PlannedRun) -> Work:
    """For each group its own photos and others, in as many epochs as there are at most."""
    train, volumes = run.config.train, run.volumes
    if "finetune" not in train.phases:
        return _nothing("photos seen")
    weights, share = [], train.other_share
    for group in run.groups:
        own = float(volumes.examples[volumes.group == group].sum())
        rest = float(volumes.examples.sum()) - own + volumes.background
        others = min(max(own * share / (1 - share), 1000), rest, train.others) if share else 0.0
        weights.append((own + others) * train.epochs)
    return Work("photos seen", np.array(weights), gpu_share=1.0)


def _evaluated(run: PlannedRun) -> Work:
    """Photos that all models see: those for validation, and the test set."""
    background = BACKGROUND_VALIDATION * run.volumes.background
    validation = run.with_background(run.volumes.validation(run.config), background)
    return Work("images", np.append(validation, float(run.data.tests)), gpu_share=1.0)


WORK: dict[str, Callable[[PlannedRun], Work]] = {
    "sample": lambda run: Work("rows", np.array([float(run.data.listed)])),
    "ingest": _archives,
    "dedupe": lambda run: _images(run, run.volumes.usable),
    "extract": _extracted,
    "match": _pairs,
    "prune": lambda run: _images(run, run.volumes.usable),
    "detect": _detected,
    "clean": lambda run: _images(run, run.volumes.usable),
    "resize": _resized,
    "group": lambda run: _images(run, run.volumes.examples),
    "trunk": _trunk,
    "embed": _vectors,
    "train": _heads,
    "finetune": _finetuned,
    "evaluate": _evaluated,
    "export": lambda run: _nothing(),
}
"""Stage -> its work. The order here means nothing: config.STAGES has the order of the stages."""

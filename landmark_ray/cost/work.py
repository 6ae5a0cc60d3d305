"""How many photos reach each stage, and the work of each stage, cut into pieces for its workers."""

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel

from landmark_ray.config import Config
from landmark_ray.config.verification import ONNX
from landmark_ray.cost.workload import Counts, Floats, Workload
from landmark_ray.data.examples import BACKGROUND_VALIDATION
from landmark_ray.kernels.head_batches import batch_size
from landmark_ray.kernels.onnx_features import runs_on_gpus
from landmark_ray.kernels.splitting import group_of, validation_share

LANDMARKS = 155.0
"""Landmarks at which the products of a head take as long as the rest of what it does for a vector.

Both grow with the length of a vector. A core (one thread, its CPU time) took 15 us for a vector of
2,048 numbers and 10 landmarks, in batches of 1,024, 102 us for 1,000, 472 us for 5,000, and 2.0 ms
for 20,000; 9 and 63 us for 1,280 numbers and 10 or 1,000 landmarks.
"""

UPDATE = 100.0
"""Vectors whose products take as long as the update of the weights after a batch, by AdamW.

By batches of 64 instead of 1,024: 226 us for a vector of 2,048 numbers and 1,000 landmarks.
"""

LAUNCH = 9.0
"""Vectors that take as long as the start of a step: 0.08 ms, which a GPU does not shorten."""


class Rates(BaseModel):
    """What a trial run found out about the photos."""

    usable: float = 1.0  # share of the photos that `ingest` accepts
    unverified: float = 0.15  # share of the usable photos that `prune` does not keep
    tries: float = 2.0  # pairs that a photo tries until one verifies it
    cleaned: float = 1.0  # share of the photos kept by `prune` that `clean` keeps


@dataclass(frozen=True)
class Run:
    """A planned or finished run: the photos of each landmark that get as far as a stage."""

    config: Config
    data: Workload
    rates: Rates
    usable: Counts  # [C] after `ingest`
    pairs: Counts | Floats  # [C] that `match` tries
    kept: Counts  # [C] after `prune`
    examples: Counts  # [C] after `clean`, in landmarks that are large enough for a group
    group: Counts  # [C] number of the group, 0 for none
    background: int  # discarded photos that the models learn from

    @property
    def validation(self) -> Counts:
        """The examples [C] that are in the validation set, by the share of their group."""
        options, groups = self.config.group, len(self.config.group.edges)
        ends = options.validation_first, options.validation_last
        shares = [0.0] + [validation_share(g, groups, *ends) for g in range(1, groups + 1)]
        return np.floor(np.array(shares)[self.group] * self.examples + 0.5).astype(np.int64)

    def by_shard(self, images: Counts | Floats, background: float = 0.0) -> Floats:
        """Add up the photos [C] of landmarks by shard [S]; the background is spread evenly."""
        sums: Floats = np.bincount(self.data.shard, images, self.data.shards).astype(np.float64)
        return sums + background / len(sums)

    def by_group(self, images: Counts | None = None) -> Floats:
        """Add up the photos [C], or else the number, of landmarks by group [G] without empty ones.

        Landmarks without a group count nowhere.
        """
        sums: Floats = np.bincount(self.group, images).astype(np.float64)
        return sums[np.unique(self.group[self.group > 0])]


def expected_run(config: Config, data: Workload, rates: Rates) -> Run:
    """Draw at random, by the rates, how many photos of each landmark reach each stage."""
    rng = np.random.default_rng(config.seed)
    options = config.prune
    usable = rng.binomial(data.sizes, rates.usable)
    verified = rng.binomial(usable, 1 - rates.unverified)
    kept = np.minimum(verified, options.max_images)
    kept[kept < options.min_images] = 0
    cleaned = rng.binomial(kept, rates.cleaned)
    cleaned[cleaned < options.min_images] = 0
    group = group_of(cleaned, config.group.edges).astype(np.int64)
    over = np.maximum(verified - options.max_images, 0)
    return Run(
        config,
        data,
        rates,
        usable=usable,
        pairs=expected_pairs(usable, verified, rates.tries, config),
        kept=kept,
        examples=np.where(group > 0, cleaned, 0),
        group=group,
        background=min(int((usable - cleaned - over).sum()), config.resize.background),
    )


def expected_pairs(usable: Counts, verified: Counts, tries: float, config: Config) -> Floats:
    """Return the pairs [C] of each landmark that `match` tries (see kernels/pair_schedule.py).

    In the mode `early` photos come in seeded order until `prune.max_images` of them are verified. A
    verified photo tries `tries` partners; a photo that nothing verifies tries all others.
    """
    possible = pairs_with(usable, usable)
    if config.match.mode == "exhaustive":
        return possible
    cap = np.minimum(verified, config.prune.max_images)
    settled = np.where(verified > 0, cap / np.maximum(verified, 1), 1.0)
    pairs: Floats = tries * cap + pairs_with(usable, (usable - verified) * settled)
    return np.minimum(pairs, possible)


def pairs_with(n: Counts, some: Counts | Floats) -> Floats:
    """Return the number of pairs of n photos in which at least one of `some` photos takes part."""
    return some * (n - 1) - some * (some - 1) / 2


@dataclass(frozen=True)
class Work:
    """The work of a stage."""

    unit: str  # what is counted
    weights: Floats  # [N] of each piece, in units that take a core equally long
    gpu_share: float | Floats = 0.0  # of the work that a GPU takes off the cores, or [N] shares
    counts: Floats | None = None  # [N] units of each piece, where they don't take equally long

    @property
    def units(self) -> Floats:
        """The units [N] of each piece."""
        return self.weights if self.counts is None else self.counts


def work_of(stage: str, run: Run) -> Work:
    """Return the work of a stage."""
    data, train = run.data, run.config.train
    match stage:
        case "sample":
            return Work("rows", np.array([float(data.listed)]))
        case "ingest":  # the photos are in proportion to the bytes of the archives
            return Work("images", data.archives / max(data.archives.sum(), 1) * data.images)
        case "extract":
            extractor = run.config.extract.extractor
            on_gpus = extractor == "delf" or (extractor in ONNX and runs_on_gpus())
            return Work("images", run.by_shard(run.usable), gpu_share=float(on_gpus))
        case "match":
            return Work("pairs", _pieces_of_pairs(run))
        case "describe":
            describes = float(not train.from_scratch)
            return Work("images", describes * run.by_shard(run.usable), gpu_share=describes)
        case "index":
            return Work("images", run.by_shard(run.examples, run.background))
        case "dedupe" | "prune" | "clean":
            return Work("images", run.by_shard(run.usable))
        case "detect":
            detects = float(bool(run.config.detect.handle))
            return Work("images", detects * run.by_shard(run.kept), gpu_share=detects)
        case "group":
            return Work("images", run.by_shard(run.examples))
        case "resize":
            return Work("images", run.by_shard(run.examples, run.background))
        case "trunk":  # one training on the photos of all landmarks
            learns = float(train.from_scratch or train.is_metric)
            epochs = train.metric_epochs if train.is_metric else train.trunk_epochs
            seen = learns * float(run.examples.sum()) * epochs
            return Work("photos seen", np.array([seen]), gpu_share=learns)
        case "embed":  # vectors of photos to learn from; those of all photos are known already
            training = float((run.examples - run.validation).sum())
            training += round((1 - BACKGROUND_VALIDATION) * run.background)
            images = run.by_shard(run.examples, run.background)
            unknown = train.from_scratch or train.is_metric
            views = unknown + (train.views - 1) * training / max(images.sum(), 1)
            return Work("vectors", images * views, gpu_share=1.0)
        case "train":
            return _heads(run)
        case "finetune":
            return _finetuned(run)
        case "evaluate":  # all models see the photos for validation, and the test set
            images = run.by_shard(run.validation, BACKGROUND_VALIDATION * run.background)
            return Work("images", np.append(images, float(data.tests)), gpu_share=1.0)
    return Work("", np.zeros(0))


def _pieces_of_pairs(run: Run) -> Floats:
    """Return the pairs of each shard; landmarks with many are cut into pieces of their own."""
    most = run.config.match.task_pairs
    large = pairs_with(run.usable, run.usable) > most
    pieces = np.ceil(np.maximum(run.pairs[large], 1) / most).astype(int)
    cut = np.repeat(run.pairs[large] / pieces, pieces)
    return np.concatenate([run.by_shard(np.where(large, 0, run.pairs)), cut])


def _heads(run: Run) -> Work:
    """Return for each group the vectors that its head sees in all epochs.

    A group's own vectors count twice: a second head, the closed one, sees them and no others.
    Trainings that stop early see fewer. A GPU takes everything off the cores but the start of each
    step; that it does so at the rate of other networks is an assumption.
    """
    train, learns = run.config.train, run.examples - run.validation
    own = run.by_group(learns)
    background = (1 - BACKGROUND_VALIDATION) * run.background
    others = np.minimum(learns.sum() - own + background, train.others) * (train.other_share > 0)
    epoch = (2 * own + others) * train.views
    batches = np.array(
        [train.head_batch or batch_size(vectors) for vectors in (own + others) * train.views]
    )
    seen, steps = epoch * train.head_epochs, np.ceil(epoch / batches) * train.head_epochs
    computed = seen * (1 + run.by_group() / LANDMARKS * (1 + UPDATE / batches))
    work = computed + LAUNCH * steps
    return Work("vectors seen", work, computed / np.maximum(work, 1), seen)


def _finetuned(run: Run) -> Work:
    """Return for each group its own photos and others, in the largest number of epochs."""
    train, share = run.config.train, run.config.train.other_share
    if "finetune" not in train.phases:
        return Work("photos seen", np.zeros(0))
    own = run.by_group(run.examples)
    rest = np.minimum(run.examples.sum() - own + run.background, train.others)
    others = np.minimum(np.maximum(own * share / (1 - share), 1000), rest) * (share > 0)
    return Work("photos seen", (own + others) * train.epochs, gpu_share=1.0)


def table_rows(stage: str, run: Run) -> float:
    """Return the number that the bytes of a stage's tables grow with."""
    match stage:
        case "train" | "export":
            return float((run.group > 0).sum())  # the landmarks that a model knows
        case "finetune":
            return float(len(work_of(stage, run).weights))
        case "trunk":
            return 0.0
    return float(work_of(stage, run).weights.sum())


def file_pieces(stage: str, run: Run) -> float:
    """Return the number that the files of a stage grow with: shards, trainings or folders."""
    if stage in ("train", "finetune"):
        return float(len(work_of(stage, run).weights))
    folders = {"sample": run.config.sample.buckets, "trunk": 1, "index": 1, "export": 1}
    return float(folders.get(stage, run.data.shards))

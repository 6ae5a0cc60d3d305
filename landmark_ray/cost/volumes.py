"""How many photos the landmarks have, and how many of them reach each stage."""

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel

from landmark_ray.config import Config
from landmark_ray.data.examples import BACKGROUND_VALIDATION
from landmark_ray.data.sources import Source
from landmark_ray.kernels.splitting import group_of, validation_share
from landmark_ray.stages import sample

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Workload:
    """What a run reads, as the source's list says."""

    listed: int  # photos that the source lists
    landmarks: Counts  # [C] id of each landmark that `sample` chooses, ordered by shard
    sizes: Counts  # [C] photos of each landmark
    shard: Counts  # [C] number of each landmark's shard, from 0
    buckets: int  # folders of a table
    archives: Counts  # [A] bytes of each tar, or chunk of single files
    tests: int = 0  # photos of the test set
    sample_s: float = 0.0  # seconds that the stage `sample` takes

    @property
    def images(self) -> int:
        """Number of photos that `sample` chooses."""
        return int(self.sizes.sum())

    @property
    def shards(self) -> int:
        """Number of files of a table."""
        return int(self.shard.max()) + 1


def read_workload(config: Config, source: Source, tests: int | None) -> tuple[Workload, pa.Table]:
    """Read the source's list; the workload, and the catalog that `sample` would write.

    Args:
        config: all options.
        source: the dataset.
        tests: photos of the test set, where the source doesn't have it.

    Raises:
        UserError: no landmark is large enough, or there are no photos.
    """
    begun = time.monotonic()
    images, names, _ = source.index()
    read_s = time.monotonic() - begun
    catalog, _, _ = sample.choose(images, names, config)
    seconds = time.monotonic() - begun + read_s  # the stage reads the list twice
    if tests is None:
        test_set = source.test_set()
        tests = len(test_set[1]) if test_set else 0
    return workload_of(catalog, config, source, images.num_rows, tests, seconds), catalog


def workload_of(
    catalog: pa.Table,
    config: Config,
    source: Source,
    listed: int,
    tests: int = 0,
    sample_s: float = 0.0,
) -> Workload:
    """The workload of a catalog, which is a table of the photos to read."""
    keys = ["bucket", "shard", "landmark_id"]
    rows = catalog.group_by(keys).aggregate([([], "count_all")]).to_pandas().sort_values(keys)
    place = rows["bucket"].to_numpy(np.int64) << 32 | rows["shard"].to_numpy(np.int64)
    return Workload(
        listed=listed,
        landmarks=rows["landmark_id"].to_numpy(np.int64),
        sizes=rows["count_all"].to_numpy(np.int64),
        shard=pd.factorize(place)[0].astype(np.int64),
        buckets=config.sample.buckets,
        archives=np.array([archive.size for archive in source.archives()], np.int64),
        tests=tests,
        sample_s=sample_s,
    )


class Rates(BaseModel):
    """What a trial run found of the photos."""

    usable: float = 1.0  # share of the photos that `ingest` accepts
    unverified: float = 0.15  # share of the usable photos that match no other of their landmark
    tries: float = 2.0  # pairs that a photo tries until one verifies it
    cleaned: float = 1.0  # share of the photos kept by `prune` that `clean` keeps
    features: int = 2048  # length of the trunk's vector of a photo


@dataclass(frozen=True)
class StageVolumes:
    """Photos of each landmark that get as far as a stage; the arrays are [C]."""

    usable: Counts  # after `ingest`
    verified: Counts  # matched by another photo
    kept: Counts  # after `prune`
    examples: Counts  # after `clean`, in landmarks that are large enough for a group
    group: Counts  # number of each landmark's group, 0 for none
    background: int  # discarded photos that the models learn from

    def validation(self, config: Config) -> Counts:
        """[C] examples that are in the validation set, by the share of their group."""
        options, groups = config.group, len(config.group.edges)
        ends = options.validation_first, options.validation_last
        shares = [0.0] + [validation_share(g, groups, *ends) for g in range(1, groups + 1)]
        return np.floor(np.array(shares)[self.group] * self.examples + 0.5).astype(np.int64)

    def vectors(self, config: Config) -> int:
        """Vectors that `embed` makes: one of each photo, and more of those to learn from."""
        learns = int((self.examples - self.validation(config)).sum())
        learns += round((1 - BACKGROUND_VALIDATION) * self.background)
        every = int(self.examples.sum()) + self.background
        return every + (config.train.views - 1) * learns


def expected_volumes(data: Workload, rates: Rates, config: Config) -> StageVolumes:
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
    examples = np.where(group > 0, cleaned, 0)
    over = np.maximum(verified - options.max_images, 0)
    background = min(int((usable - cleaned - over).sum()), config.resize.background)
    return StageVolumes(usable, verified, kept, examples, group, background)


def expected_pairs(volumes: StageVolumes, tries: float, config: Config) -> Floats:
    """[C] pairs of each landmark that `match` tries (see kernels/schedule.py).

    In the mode `early` photos come in seeded order until `prune.max_images` of them are verified. A
    verified photo tries `tries` partners; a photo that nothing verifies tries all others.
    """
    n = volumes.usable.astype(float)
    possible = n * (n - 1) / 2
    if config.match.mode == "exhaustive":
        return possible
    cap = np.minimum(volumes.verified, config.prune.max_images)
    settled = cap / np.maximum(volumes.verified, 1)
    settled[volumes.verified == 0] = 1.0
    alone = (n - volumes.verified) * settled
    return np.minimum(tries * cap + pairs_with(n, alone), possible)


def pairs_with(n: Floats, some: Floats) -> Floats:
    """Pairs of n photos in which at least one of `some` photos takes part."""
    return some * (n - 1) - some * (some - 1) / 2

"""What there is to do, by the source's metadata alone: classes, shards, archives."""

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from landmark_ray.config import Config
from landmark_ray.data.sources import Source
from landmark_ray.stages import sample

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Workload:
    """What there is to do.

    Attributes:
        listed: images of the source.
        sizes: [C] images of each class that are read.
        shard: [C] number of each one's shard.
        buckets: folders of a table.
        archives: [A] bytes of each tar, or chunk of files.
        tests: images of the test set.
        seconds: that `sample` takes.
    """

    listed: int
    sizes: Counts
    shard: Counts
    buckets: int
    archives: Counts
    tests: int = 0
    seconds: float = 0.0

    @property
    def images(self) -> int:
        """Images that are read."""
        return int(self.sizes.sum())

    @property
    def shards(self) -> int:
        """Files of a table."""
        return int(self.shard.max()) + 1


def read(config: Config, source: Source, tests: int | None) -> tuple[Workload, pa.Table]:
    """The workload of a source, and its catalog.

    Args:
        config: all options.
        source: the dataset.
        tests: images of the test set, where it is known better than by the source.

    Raises:
        UserError: no class is large enough, or there is no tar.
    """
    begun = time.monotonic()
    images, names, _ = source.index()
    read_s = time.monotonic() - begun
    catalog, _, _ = sample.choose(images, names, config)
    seconds = time.monotonic() - begun + read_s  # the stage reads the list twice
    if tests is None:
        test_set = source.test_set()
        tests = len(test_set[1]) if test_set else 0
    archives = np.array([archive.size for archive in source.archives()], np.int64)
    return of_catalog(catalog, images.num_rows, config, archives, tests, seconds), catalog


def of_catalog(
    catalog: pa.Table,
    listed: int,
    config: Config,
    archives: Counts,
    tests: int = 0,
    seconds: float = 0.0,
) -> Workload:
    """The workload of a catalog."""
    keys = ["landmark_id", "bucket", "shard"]
    classes = catalog.group_by(keys).aggregate([([], "count_all")]).to_pandas()
    classes = classes.sort_values(keys[1:] + keys[:1])
    place = classes["bucket"].to_numpy(np.int64) << 32 | classes["shard"].to_numpy(np.int64)
    return Workload(
        listed,
        classes["count_all"].to_numpy(np.int64),
        pd.factorize(place)[0].astype(np.int64),
        config.sample.buckets,
        archives,
        tests,
        seconds,
    )

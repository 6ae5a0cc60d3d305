"""What a run reads, according to the list of its source."""

import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from landmark_ray.config import Config
from landmark_ray.data.sources import Source
from landmark_ray.stages import sample

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Workload:
    """What a run reads, according to the list of the source."""

    listed: int  # photos that the source lists
    landmarks: Counts  # [C] id of each landmark that `sample` chooses, ordered by shard
    sizes: Counts  # [C] photos of each landmark
    shard: Counts  # [C] number of each landmark's shard, from 0
    archives: Counts  # [A] bytes of each tar, or chunk of single files
    tests: int = 0  # photos of the test set
    sample_s: float = 0.0  # seconds that the stage `sample` takes

    @property
    def images(self) -> int:
        """The number of photos that `sample` chooses."""
        return int(self.sizes.sum())

    @property
    def shards(self) -> int:
        """The number of files of a table."""
        return int(self.shard.max()) + 1


def read_workload(config: Config, source: Source, tests: int | None) -> tuple[Workload, pa.Table]:
    """Read the source's list; return the workload, and the catalog that `sample` would write.

    If `tests`, the number of photos of the test set, is None, it is that of the source's solution.

    Raises:
        UserError: No landmark is large enough, or there are no photos.
    """
    begun = time.monotonic()
    images, names, _ = source.index()
    read_s = time.monotonic() - begun
    catalog, _, _ = sample.choose(images, names, config)
    seconds = time.monotonic() - begun + read_s  # the stage reads the list twice
    if tests is None:
        test_set = source.test_set()
        tests = len(test_set[1]) if test_set else 0
    return workload_of(catalog, source, images.num_rows, tests, seconds), catalog


def workload_of(
    catalog: pa.Table, source: Source, listed: int, tests: int = 0, sample_s: float = 0.0
) -> Workload:
    """Return the workload of a catalog."""
    keys = ["bucket", "shard", "landmark_id"]
    rows = catalog.group_by(keys).aggregate([([], "count_all")]).to_pandas().sort_values(keys)
    return Workload(
        listed=listed,
        landmarks=rows["landmark_id"].to_numpy(np.int64),
        sizes=rows["count_all"].to_numpy(np.int64),
        shard=rows.groupby(keys[:2]).ngroup().to_numpy(np.int64),
        archives=np.array([archive.size for archive in source.archives()], np.int64),
        tests=tests,
        sample_s=sample_s,
    )

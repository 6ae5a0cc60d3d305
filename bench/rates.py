"""A stage on Ray Data against its kernel in a bare pool, over the same files: what both share.

Each side has two processes of one thread and works through the same shards of `images`, one a task,
the largest first. The stage writes its tables; the pool discards what the kernel returns.

The rate is taken once started: from a side's first finished shard to its end, when (for the stage)
all files are written and all reports are with the driver. The start-up is the time to the first
finished shard, less what a shard takes at that rate.
"""

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import ray
from common import photographs, write_copies
from ray.data import Dataset

from landmark_ray import pipeline
from landmark_ray.config import Config
from landmark_ray.data.root import Root, Shard
from landmark_ray.data.sources import Source
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.tasks import run_tasks

CORES = 2
IMAGES = 5_000
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Kernel = Callable[[bytes], object]


@dataclass(frozen=True)
class Run:
    """One pass of one side over all shards."""

    rate: float
    """Images a second, once started."""
    startup_s: float
    total_s: float


def measured(begun: float, finished: Sequence[tuple[float, int]], end: float) -> Run:
    """A run from the times at which shards of so many images were finished."""
    first, rows = min(finished)
    rate = (sum(n for _, n in finished) - rows) / (end - first)
    return Run(rate, first - begun - rows / (rate / CORES), end - begun)


def prepare(folder: str) -> tuple[Config, Root]:
    """A root with the tables `catalog` and `images`, of IMAGES or more photographs."""
    for name in ONE_THREAD:
        os.environ[name] = "1"
    photos = photographs()
    copies = -(-IMAGES // (len(photos) - 40))  # some are broken, some in classes too small
    write_copies(photos, copies, Path(folder) / "source")
    config = Config(source=f"{folder}/source", root=f"{folder}/root", cluster={"cpus": CORES})
    tables = Root(f"{folder}/root")
    for stage in ("sample", "ingest"):
        pipeline.run_stage(stage, config, tables, Source(f"{folder}/source"))
    ray.shutdown()
    return config, tables


def compare(
    plan: Callable[[Dataset], Dataset],
    kernel: Kernel,
    written: Sequence[str],
    config: Config,
    tables: Root,
    rounds: int,
    *,
    light: bool,
) -> tuple[list[Run], list[Run]]:
    """Run both sides in turn, `rounds` times; the stage's runs and the pool's.

    Args:
        plan: the stage's, units to reports.
        kernel: what the stage does with the bytes of an image.
        written: the stage's tables, its main one first; deleted after each run.
        config: for Ray.
        tables: the root.
        rounds: so many times.
        light: as the stage tells `drive`.
    """
    sides: tuple[list[Run], list[Run]] = ([], [])
    for i in range(rounds):
        print(f"round {i + 1} of {rounds}", file=sys.stderr)
        sides[0].append(run_stage(plan, written[0], config, tables, light=light))
        for table in written:
            tables.delete(table)
        sides[1].append(run_bare(kernel, tables))
    return sides


def run_stage(
    plan: Callable[[Dataset], Dataset], table: str, config: Config, tables: Root, *, light: bool
) -> Run:
    """Drive a stage's plan over all shards as its job does, in a Ray of its own."""
    units = [{"bucket": s.bucket, "shard": s.shard, "rows": s.images} for s in tables.shards()]
    begun = time.time()
    with ProgressBar("stage", sum(u["rows"] for u in units)) as meter:
        run_tasks(units, plan, config, meter, light=light)
    end = time.time()
    ray.shutdown()
    finished = [
        (os.stat(tables.at(tables.name(table, u["bucket"], u["shard"]))).st_mtime, u["rows"])
        for u in units
    ]  # by the files: the driver hears of them later
    return measured(begun, finished, end)


def run_bare(kernel: Kernel, tables: Root) -> Run:
    """The kernel alone, on every JPEG of all shards."""
    work = [(kernel, tables, shard) for shard in tables.shards()]
    begun = time.time()
    with multiprocessing.get_context("spawn").Pool(CORES, cv2.setNumThreads, (1,)) as pool:
        finished = list(pool.imap_unordered(_bare_shard, work))
        return measured(begun, finished, time.time())


def _bare_shard(work: tuple[Kernel, Root, Shard]) -> tuple[float, int]:
    kernel, tables, shard = work
    for row in tables.read_shard("images", shard.bucket, shard.shard).to_pylist():
        kernel(row["jpeg"])
    return time.time(), shard.images


def ratio(stage: Sequence[Run], bare: Sequence[Run]) -> float:
    """Median of the rounds' ratios of rates: 1 where the stage is as fast as the bare kernel."""
    return statistics.median(a.rate / b.rate for a, b in zip(stage, bare, strict=True))


def rows_of(name: str, runs: Sequence[Run]) -> list[str | float]:
    """A side's row of the table: medians."""
    keys = ("rate", "startup_s", "total_s")
    return [name, *(statistics.median(getattr(run, key) for run in runs) for key in keys)]

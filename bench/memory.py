"""Peak memory of every stage on some images and on four times as many: it must be the same.

Each stage runs as its job (`jobs/STAGE.py`), on about 650 photographs and on about 2,600 in
classes of the same sizes. The memory is the sum of the proportional set sizes (PSS: a page that n
processes share counts 1/n in each) of the job, Ray's processes and workers, five times a second.
Buffers are set small, so that the smaller run fills them too; features and views are few, and the
network is small, to save time.

    python bench/memory.py [--smoke | --large]

5 minutes. `--large` has 2,600 and 10,500 photographs: 12 minutes.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from common import (
    CORES,
    REPO,
    TINY_NETWORK,
    Figure,
    photographs,
    report,
    run,
    source_folder,
    write_copies,
)

from landmark_ray.config import STAGES

EVERY_S = 0.2
OPTIONS = (
    *("--cluster.cpus", CORES, "--cluster.object_store_gb", 0.2, "--ingest.buffer_mb", 8),
    *("--extract.max_feature_num", 200, "--extract.max_side", 256, *TINY_NETWORK),
)

FIGURES = {
    "worst": Figure(
        "peak memory of the stage whose memory grows most", "a quarter of the images", most=1.15
    ),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        smoke: whether the photographs are the toy's.
        images: of the smaller run.
        times: images of the larger run for each of the smaller one.
        stages: that run.
        options: of all.
    """

    smoke: bool
    images: int
    times: int
    stages: tuple[str, ...]
    options: tuple[object, ...] = ()


def family(job: psutil.Popen) -> Iterator[psutil.Process]:
    """A process and all that it started."""
    yield job
    yield from job.children(recursive=True)


def held(job: psutil.Popen) -> int:
    """Bytes that a job and its children hold together."""
    total = 0
    for process in family(job):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def peak_of(stage: str, folder: Path, more: Sequence[object]) -> float:
    """Run a stage's job; the most MiB that it held.

    Raises:
        RuntimeError: the job failed; with its last words.
    """
    words = [*more, *OPTIONS, "--source", folder / "source", "--root", folder / "root"]
    command = [sys.executable, str(REPO / f"jobs/{stage}.py"), *map(str, words)]
    with (folder / f"{stage}.log").open("w+") as log:
        job = psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        peak = 0
        while job.poll() is None:
            try:
                peak = max(peak, held(job))
            except psutil.NoSuchProcess:
                break
            time.sleep(EVERY_S)
        if job.wait():
            log.seek(0)
            raise RuntimeError(f"jobs/{stage}.py failed: {log.read()[-2000:]}")
    return peak / (1 << 20)


def peaks(size: Size, folder: Path, copies: int) -> dict[str, float]:
    """The peak of every stage on some copies of the photographs."""
    count = write_copies(photographs(source_folder(size.smoke)), copies, folder / "source")
    by_stage = {}
    for stage in size.stages:
        print(f"{stage} on {count:,} images", file=sys.stderr)
        by_stage[stage] = peak_of(stage, folder, size.options)
    return by_stage


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Run all stages twice."""
    copies = -(-size.images // len(photographs(source_folder(size.smoke))))
    small = peaks(size, folder / "small", copies)
    large = peaks(size, folder / "large", copies * size.times)
    ratios = {stage: large[stage] / small[stage] for stage in size.stages}
    report(
        "Peak memory of each stage, MiB",
        ["stage", f"{copies} copies", f"{copies * size.times} copies", "ratio"],
        [[stage, small[stage], large[stage], ratios[stage]] for stage in size.stages],
    )
    return {"worst": max(ratios.values())}


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(smoke=False, images=500, times=4, stages=STAGES),
        large=Size(smoke=False, images=2_000, times=4, stages=STAGES),
        smoke=Size(
            smoke=True, images=30, times=2, stages=STAGES[:1], options=("--sample.buckets", 2)
        ),
    )

"""Peak memory of every stage on some images and on three times as many: it must be the same.

`jobs/pipeline.py` runs all stages, on about 2,000 photographs and on about 5,900 in classes of the
same sizes. The memory is the sum of the proportional set sizes (PSS: a page that n processes share
counts 1/n in each) of the job, Ray's processes and workers, five times a second. Buffers, files of
tables and the object store are set small, so that the smaller run fills them too; features and
views are few, and the network is small, to save time.

    python bench/memory.py [--smoke | --large]

8 minutes. `--large` has 2,600 and 7,900 photographs: 10 minutes.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
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
from landmark_ray.data.root import Root
from landmark_ray.runtime import ledger

EVERY_S = 0.2
OPTIONS = (
    *("--cluster.cpus", CORES, "--cluster.object_store_gb", 0.08, "--ingest.buffer_mb", 8),
    *("--sample.shard_images", 64),
    *("--extract.max_feature_num", 200, "--extract.max_side", 256, *TINY_NETWORK),
    *("--group.edges", "6,12"),
)

FIGURES = {
    "worst": Figure(
        "largest growth of a stage's peak memory",
        "the same stage on a third of the images",
        most=1.15,
    ),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        smoke: whether the photographs are the toy's.
        images: of the smaller run.
        times: images of the larger run for each of the smaller one.
        last: stage that runs.
        options: of all.
    """

    smoke: bool
    images: int
    times: int
    last: str
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


def peaks(size: Size, folder: Path, copies: int) -> dict[str, float]:
    """Run the pipeline on some copies of the photographs; the most MiB that it held in each stage.

    Raises:
        RuntimeError: the job failed; with its last words.
    """
    count = write_copies(photographs(source_folder(size.smoke)), copies, folder / "source")
    print(f"{count:,} images", file=sys.stderr)
    words = [*size.options, *OPTIONS, "--to", size.last]
    words += ["--source", folder / "source", "--root", folder / "root"]
    command = [sys.executable, str(REPO / "jobs/pipeline.py"), *map(str, words)]
    root, peak = Root(str(folder / "root")), dict.fromkeys(STAGES, 0.0)
    with (folder / "log").open("w+") as log:
        job = psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while job.poll() is None:
            stage = max(ledger.read_all(root), key=STAGES.index, default=STAGES[0])
            with contextlib.suppress(psutil.NoSuchProcess):
                peak[stage] = max(peak[stage], held(job) / (1 << 20))
            time.sleep(EVERY_S)
        if job.wait():
            log.seek(0)
            raise RuntimeError(f"jobs/pipeline.py failed: {log.read()[-2000:]}")
    return {stage: most for stage, most in peak.items() if most}


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Run the pipeline twice; a stage that takes no time, such as an idle `detect`, has no peak."""
    copies = -(-size.images // len(photographs(source_folder(size.smoke))))
    small = peaks(size, folder / "small", copies)
    large = peaks(size, folder / "large", copies * size.times)
    both = [stage for stage in small if stage in large]
    ratios = {stage: large[stage] / small[stage] for stage in both}
    report(
        "Peak memory of each stage, MiB",
        ["stage", f"{copies} copies", f"{copies * size.times} copies", "ratio"],
        [[stage, small[stage], large[stage], ratios[stage]] for stage in both],
    )
    return {"worst": max(ratios.values())}


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(smoke=False, images=1_900, times=3, last="export"),
        large=Size(smoke=False, images=2_600, times=3, last="export"),
        smoke=Size(smoke=True, images=30, times=2, last="sample", options=("--sample.buckets", 2)),
    )

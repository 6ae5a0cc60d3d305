"""Peak memory of every stage on so many images and on four times as many: it must be the same.

Each stage runs as its job (`jobs/STAGE.py`), on about 2,000 photographs and on about 8,000 in
classes of the same sizes. The memory is the sum of the proportional set sizes (PSS: a page that n
processes share counts 1/n in each) of the job, Ray's processes and workers, five times a second.
Buffers are set small, so that the smaller run fills them too; features are few, to save time.

    python bench/memory.py

10 minutes. To expect: a ratio of at most 1.15 for each stage.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from common import finish, photographs, report, write_copies

from landmark_ray.config import STAGES

IMAGES, TIMES = 2_000, 4
EVERY_S = 0.2
MOST_RATIO = 1.15
OPTIONS = {
    "--cluster.cpus": 2,
    "--cluster.object_store_gb": 0.2,
    "--ingest.buffer_mb": 8,
    "--extract.max_feature_num": 200,
    "--extract.max_side": 256,
}
REPOSITORY = Path(__file__).parents[1]


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


def peak_of(stage: str, folder: Path) -> float:
    """Run a stage's job; the most MiB that it held.

    Raises:
        RuntimeError: the job failed; with its last words.
    """
    options = {"--source": folder / "source", "--root": folder / "root"} | OPTIONS
    words = [str(word) for option in options.items() for word in option]
    command = [sys.executable, str(REPOSITORY / f"jobs/{stage}.py"), *words]
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


def peaks(folder: Path, copies: int) -> dict[str, float]:
    """Peak of every stage on so many copies of the photographs."""
    count = write_copies(photographs(), copies, folder / "source")
    found = {}
    for stage in STAGES:
        print(f"{stage} on {count:,} images", file=sys.stderr)
        found[stage] = peak_of(stage, folder)
    return found


def main() -> None:
    """Run all stages twice."""
    copies = -(-IMAGES // len(photographs()))
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
        small = peaks(Path(folder) / "small", copies)
        large = peaks(Path(folder) / "large", copies * TIMES)
    ratios = {stage: large[stage] / small[stage] for stage in STAGES}
    worst = max(ratios.values())
    report(
        "Peak memory of each stage, MiB",
        ["stage", f"{copies} copies", f"{copies * TIMES} copies", "ratio"],
        [[stage, small[stage], large[stage], ratios[stage]] for stage in STAGES]
        + [["at most", "", "", MOST_RATIO]],
    )
    finish({"worst_ratio": worst, **ratios}, worst <= MOST_RATIO)


if __name__ == "__main__":
    main()

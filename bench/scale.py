"""A rehearsal of all of GLDv2: ten stages at full size, with stubs for what computes on images.

Generated: a train.csv of GLDv2's size (4,132,914 images, 203,094 classes) and 500 tars whose
"photos" are their own ids; the features are one small descriptor a photo, a pair has a seeded
number of inliers (`stubs.py`; a photo in 16 is noise and meets its whole class). All else is real:
the stages run as `pipeline.py` runs them, on Ray, with two cores, and write all their tables: 128
buckets, 32,000 shards. `match` is stopped in the middle and goes on.

Measured: seconds and peak memory of the driver for each stage, files of each table, and what the
second run of `match` needs to know what is done. A *class unit* is one landmark's class on its way
through the stage match: its shard dealt to a task and looked up, features read, partners ordered,
waves and parts made (those of large classes run as Ray tasks of their own), pairs and evidence kept
and written; all of it but the matching of pairs. Their rate is the classes divided by the seconds
of the stage, stop and start included.

Then what grows with the data is run alone, on a quarter of the buckets and on all. A straight line
through both gives 100 million images.

    python bench/scale.py

About 15 minutes and 8 GB in a temporary folder. To expect: at most 4 GiB in the driver, at least
500 class units a second, and no table with more files than there are shards.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import stubs
from common import finish, report
from gldv2 import class_sizes, peak_gib, reset_peak, write_csv

from landmark_ray import pipeline
from landmark_ray.config import STAGES, Config
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.runtime import ledger
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.runtime.shards import run_over_shards
from landmark_ray.runtime.tasks import shard_task
from landmark_ray.stages import dedupe, match
from landmark_ray.stages.ingest import NOTES, CatalogIndex

CORES, TARS, BUCKETS = 2, 500, 128
SHARE = int(os.environ.get("BENCH_SCALE_SHARE", 1))
"""For a try: a class in so many, as many tars and buckets fewer."""
DRIVEN = STAGES[: STAGES.index("resize") + 1]
QUARTER, MANY = 4, 100e6
MOST_GIB, LEAST_UNITS = 4, 500

Figures = dict[str, float]


class StoppedError(Exception):
    """The middle of a stage."""


def generate(folder: Path) -> int:
    """A source; its number of images."""
    (folder / "train").mkdir()
    for tar in range(TARS // SHARE):
        (folder / f"train/images_{tar:03d}.tar").write_bytes(b"stub")
    ids = write_csv(folder / "train.csv", class_sizes()[::SHARE])
    np.save(folder / stubs.IDS, ids)
    return len(ids)


def config_of(folder: str, root: str = "root") -> Config:
    """Options of all."""
    return Config(
        root=f"{folder}/{root}",
        source=folder,
        sample={"buckets": BUCKETS // SHARE},
        cluster={"cpus": CORES},
    )


def alone(work: Callable[..., Any], *args: Any) -> Any:
    """What a function returns in a new process on `CORES` cores."""
    pool = multiprocessing.get_context("spawn").Pool(1, os.sched_setaffinity, (0, CPUS))
    try:
        return pool.apply(work, args)
    finally:  # let its Ray go in peace
        pool.close()
        pool.join()


CPUS = sorted(os.sched_getaffinity(0))[:CORES]


def rehearse(folder: str) -> dict[str, Figures]:
    """Run the stages; seconds and peak GiB of the driver for each."""
    config = config_of(folder)
    tables, source = Root(config.root), Source(folder)
    start_ray(config, runtime_env=stubs.session())
    found = {}
    for stage in DRIVEN:
        reset_peak()
        begun = time.perf_counter()
        if stage == "match":
            stopped(config, tables)
        pipeline.run_stage(stage, config, tables, source)
        found[stage] = {"s": time.perf_counter() - begun, "gib": peak_gib()}
        if stage == "match":
            found["again"] = bookkeeping(tables)
    return found


def stopped(config: Config, tables: Root) -> None:
    """Run `match` until half of the images are done."""
    add = ProgressBar.add

    def add_half(meter: ProgressBar, rows: int) -> None:
        add(meter, rows)
        if meter.done > meter.total / 2:
            raise StoppedError

    ProgressBar.add = add_half
    try:
        match.run(config, tables, Source(config.source))
    except StoppedError:
        print("match is stopped in the middle", file=sys.stderr)
    finally:
        ProgressBar.add = add


def bookkeeping(tables: Root) -> Figures:
    """Seconds to find out what is to be done, and what is done."""
    begun = time.perf_counter()
    shards = tables.shards()
    listed = time.perf_counter()
    done = tables.committed("pairs")
    assert len(done) == len(shards)
    return {"shards_s": listed - begun, "committed_s": time.perf_counter() - listed}


def files_of(tables: Root) -> dict[str, int]:
    """Files of each table."""
    root = Path(tables.path)
    return {t.name: len(tables.files(t.name)) for t in sorted(root.iterdir()) if t.name[0] != "_"}


def part_of(tables: Root, folder: str) -> str:
    """A root with a quarter of the buckets, and a source of the same images."""
    source = Path(folder) / "quarter"
    for table in ("catalog", "hashes", "pairs"):
        (source / "root" / table).mkdir(parents=True)
        for bucket in range(BUCKETS // SHARE // QUARTER):
            name = f"{table}/bucket={bucket}"
            (source / "root" / name).symlink_to(tables.at(name))
    with (Path(folder) / "train.csv").open("rb") as whole:
        size = os.fstat(whole.fileno()).st_size // QUARTER
        (source / "train.csv").write_bytes(whole.read(size).rpartition(b"\n")[0] + b"\n")
    return str(source)


def sample(folder: str) -> None:
    """The metadata: read, chosen, laid out and written, in a root of its own."""
    config = config_of(folder, "sampled")
    pipeline.run_stage("sample", config, Root(config.root), Source(folder))


def shards(folder: str) -> None:
    """The catalog's shards."""
    Root(f"{folder}/root").shards()


def committed(folder: str) -> None:
    """What is done of a table: a footer a file."""
    Root(f"{folder}/root").committed("pairs")


def index(folder: str) -> None:
    """What `ingest` shares with its tasks."""
    CatalogIndex.read(Root(f"{folder}/root"), Source(folder).index()[0]["image_id"])


def duplicates(folder: str) -> None:
    """The hashes in the driver of `dedupe`, compared in tasks."""
    tables = Root(f"{folder}/root")
    dedupe.find(tables.shards(), config_of(folder), tables)


def dealt(folder: str) -> None:
    """Units of no work at all: dealt to tasks, their reports added up."""
    config, empty = config_of(folder), StageCounts().to_json()
    idle = shard_task(lambda row: {"rows": row["rows"], "report": empty})
    run_over_shards("idle", "idle", Root(f"{folder}/root"), config, lambda units: units.map(idle))


GROWING = (sample, shards, committed, index, duplicates, dealt)


def measured(number: int, folder: str) -> Figures:
    """Seconds and peak GiB of one that grows."""
    start_ray(config_of(folder))
    reset_peak()
    begun = time.perf_counter()
    GROWING[number](folder)
    return {"s": time.perf_counter() - begun, "gib": peak_gib()}


def at_many(images: int, quarter: float, whole: float) -> float:
    """By a straight line through both, the value for MANY images."""
    return whole + (MANY / images - 1) * (whole - quarter) / (1 - 1 / QUARTER)


def main() -> None:
    """Generate, rehearse, and look at what grows."""
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
        print("generating the source", file=sys.stderr)
        images = generate(Path(folder))
        found = alone(rehearse, folder)
        tables = Root(f"{folder}/root")
        units = len(tables.shards())
        files = files_of(tables)
        notes = [tables.read_json(name) for name in tables.files(NOTES)]
        fragments = sum(len(note["fragments"]) for note in notes)
        funnels = {stage: ledger.read(tables, stage)["funnel"] for stage in DRIVEN}
        quarter = part_of(tables, folder)
        growth = [[alone(measured, i, f) for f in (quarter, folder)] for i in range(len(GROWING))]
    again = found.pop("again")
    classes = funnels["match"]["classes_in"]
    rate = classes / found["match"]["s"]
    peak = max(figures["gib"] for figures in found.values())
    report(
        f"{images:,} images, {CORES} cores: the driver",
        ["stage", "s", "peak GiB", "images out", "classes out"],
        [
            [stage, f["s"], f["gib"], funnels[stage]["images_out"], funnels[stage]["classes_out"]]
            for stage, f in found.items()
        ],
    )
    report(
        f"Files; {units:,} shards, so {fragments:,} fragments while ingest runs",
        ["table", "files"],
        [[table, count] for table, count in files.items()] + [["all", sum(files.values())]],
    )
    report(
        f"What grows: a quarter, all, and by a straight line {MANY / 1e6:.0f} million images",
        ["part", "s", "s", "s then", "GiB", "GiB", "GiB then"],
        [
            [work.__name__]
            + [
                value
                for unit in ("s", "gib")
                for value in (small[unit], large[unit], at_many(images, small[unit], large[unit]))
            ]
            for work, (small, large) in zip(GROWING, growth, strict=True)
        ],
    )
    rejects = files.pop("rejects", 0)
    bounded = max(files.values()) <= units and rejects <= 3 * units
    figures = {"units_per_s": rate, "peak_gib": peak, "files": sum(files.values()), **again}
    finish(figures, rate >= LEAST_UNITS and peak <= MOST_GIB and bounded)


if __name__ == "__main__":
    main()

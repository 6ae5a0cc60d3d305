"""A rehearsal of all of GLDv2: ten stages at full size, with stubs for what computes on images.

Generated: a train.csv of GLDv2's size (4,132,914 images, 203,094 classes) and 500 tars whose
"photos" are their own ids; the features are one small descriptor a photo, a pair has a seeded
number of inliers (`gldv2.py`; a photo in 16 is noise and meets its whole class). All else is real:
the stages run as `pipeline.py` runs them, on Ray, with two cores, and write all their tables: 128
buckets, 32,000 shards. The curation page is made at the end.

Measured: seconds and peak memory of the driver for each stage, and the files of each table. The
rate of `match` counts landmarks: each is dealt to a task and looked up, its features are read, its
partners ordered, its pairs kept and written; all but the matching of pairs.

    python bench/scale.py [--smoke]

15 minutes and 8 GB in a temporary folder.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import gldv2
import numpy as np
from common import CORES, Figure, in_own_process, peak_gib, report, reset_peak, run

from landmark_ray import pipeline
from landmark_ray.config import STAGES, Config
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.reports import curation_page
from landmark_ray.runtime import ledger
from landmark_ray.runtime.ray_start import start_ray

LAST = max(STAGES.index("group"), STAGES.index("resize"))
REHEARSED = STAGES[: LAST + 1]

FIGURES = {
    "peak_gib": Figure(
        "a rehearsal at 4,132,914 images of 203,094 landmarks: memory of the driver", "GiB", most=4
    ),
    "rate": Figure("in it, landmarks that `match` schedules a second", least=500),
    "sample_s": Figure("in it, choosing the images from `train.csv`", "s", most=60, quoted=False),
    "files": Figure("files of a table for each shard", most=1, quoted=False),
    "page_mb": Figure(
        "in it, the size of the curation page, photos aside", "MB", most=50, quoted=False
    ),
    "page_s": Figure("time to make that page", "s", quoted=False),
    "page_gib": Figure("memory to make that page", "GiB", most=4, quoted=False),
}


@dataclass(frozen=True)
class Size:
    """How much of GLDv2 there is.

    Attributes:
        share: a landmark in so many is there.
        tars: that the images are in.
        buckets: of the tables.
    """

    share: int
    tars: int
    buckets: int


def generate(size: Size, folder: Path) -> int:
    """Write the source; returns its number of images."""
    (folder / "train").mkdir()
    for tar in range(size.tars):
        (folder / f"train/images_{tar:03d}.tar").write_bytes(b"stub")
    ids = gldv2.write_csv(folder / "train.csv", gldv2.class_sizes()[:: size.share])
    np.save(folder / gldv2.IDS, ids)
    return len(ids)


def rehearse(folder: str, buckets: int) -> dict[str, dict[str, float]]:
    """Run the stages; seconds and peak GiB of the driver for each, and for the page."""
    options = {"sample": {"buckets": buckets}, "cluster": {"cpus": CORES}}
    config = Config.model_validate({"root": f"{folder}/root", "source": folder, **options})
    root, source = Root(config.root), Source(folder)
    start_ray(config, runtime_env=gldv2.session())
    gldv2.install_in_driver()
    stages = {}
    for stage in REHEARSED:
        reset_peak()
        begun = time.perf_counter()
        pipeline.run_stage(stage, config, root, source)
        stages[stage] = {"s": time.perf_counter() - begun, "gib": peak_gib()}
    reset_peak()
    begun = time.perf_counter()
    page = curation_page.page(root, config)
    stages["page"] = {"s": time.perf_counter() - begun, "gib": peak_gib()}
    stages["page"]["mb"] = len(page.encode()) / 1e6
    return stages


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Generate, rehearse in another process, and count."""
    print("generating the source", file=sys.stderr)
    images = generate(size, folder)
    stages = in_own_process(rehearse, str(folder), size.buckets)
    page = stages.pop("page")
    root = Root(f"{folder}/root")
    shards = len(root.shards())
    places = [place for place in Path(root.path).iterdir() if place.name[0] != "_"]
    files = {place.name: len(root.files(place.name)) for place in sorted(places)}
    counts = {stage: (ledger.read(root, stage) or {})["funnel"] for stage in REHEARSED}
    report(
        f"{images:,} images, {CORES} cores: the driver",
        ["stage", "s", "peak GiB", "images out", "landmarks out"],
        [
            [stage, row["s"], row["gib"], counts[stage]["images_out"], counts[stage]["classes_out"]]
            for stage, row in stages.items()
        ],
    )
    report(f"Files; {shards:,} shards", ["table", "files"], [[t, n] for t, n in files.items()])
    files.pop("rejects", None)  # of which each stage has its own
    return {
        "peak_gib": max(row["gib"] for row in stages.values()),
        "rate": counts["match"]["classes_in"] / stages["match"]["s"],
        "sample_s": stages["sample"]["s"],
        "files": max(files.values()) / shards,
        **{f"page_{name}": value for name, value in page.items()},
    }


if __name__ == "__main__":
    run(measure, FIGURES, full=Size(1, 500, 128), smoke=Size(2_000, 2, 2))

"""A rehearsal of GLDv2: ten stages on an eighth of its landmarks, with stubs for the image kernels.

Generated: a train.csv with every eighth landmark of GLDv2 (520,000 images, 25,387 landmarks) and 62
tars whose "photos" are their own ids. The features are one small descriptor for each photo, and
a pair has a seeded number of inliers (`gldv2.py`; one photo in 16 is noise and is compared with its
whole class). Everything else is real: the stages run as `pipeline.py` runs them, on Ray, with two
cores, and write all their tables: 16 buckets, 4,000 shards. The curation page is made at the end.

Measured: seconds and peak memory of the driver for each stage, and the files of each table. Of
`match`, all but the matching itself is measured: each landmark is assigned to a task and looked up,
its features are read, its partners are ordered, its pairs are selected and written. The time of a
core for a pair is compared with that of `match_pair` on two images of 1,000 made-up features.
A run with a quarter of these landmarks comes first, to show that the time for each image does not
grow, and what the memory will be with all landmarks: a straight line through both.

    python bench/scale.py [--smoke | --large]

3 minutes, 1 GB in a temporary folder. `--large` rehearses all of GLDv2 (4,132,914 images, 203,094
landmarks, 128 buckets): 19 minutes, 8 GB.
"""

import sys
import time
import timeit
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gldv2
import numpy as np
from common import CORES, Figure, in_own_process, peak_gib, report, reset_peak, run
from threadpoolctl import threadpool_limits

from landmark_ray import pipeline
from landmark_ray.config import STAGES, Config
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.kernels.features import ImageFeatures, quantise
from landmark_ray.kernels.matching import MatchingRule, match_pair
from landmark_ray.reports import curation_page
from landmark_ray.runtime import ledger
from landmark_ray.runtime.ray_start import start_ray

LAST = max(STAGES.index("group"), STAGES.index("resize"))
REHEARSED = STAGES[: LAST + 1]

REHEARSAL = "rehearsal with an eighth of GLDv2's landmarks"
FIGURES = {
    "peak_gib": Figure(
        f"{REHEARSAL}: memory of the driver, extrapolated to all of them", unit="GiB", most=4
    ),
    "growth": Figure(
        f"{REHEARSAL}: time of all stages for each image", "a quarter of the landmarks", most=1.2
    ),
    "scheduling": Figure(
        f"{REHEARSAL}: time in which `match` schedules a pair", "matching the pair", most=0.05
    ),
    "sample_s": Figure("choosing the images from `train.csv`", unit="s", most=60, quoted=False),
    "files": Figure("files of a table for each shard", most=1, quoted=False),
    "page_mb": Figure("the curation page without photos", unit="MB", most=50, quoted=False),
    "page_s": Figure("time to make the curation page", unit="s", quoted=False),
    "page_gib": Figure("memory to make the curation page", unit="GiB", most=4, quoted=False),
}


@dataclass(frozen=True)
class Size:
    """How much of GLDv2 there is.

    Attributes:
        share: one landmark in `share` is there.
        tars: that the images are in.
        buckets: of the tables.
    """

    share: int
    tars: int
    buckets: int

    def divided(self, by: int) -> "Size":
        """A part of it."""
        return Size(by * self.share, max(self.tars // by, 1), max(self.buckets // by, 1))


def generate(size: Size, folder: Path) -> int:
    """Write the source; returns its number of images."""
    (folder / "train").mkdir(parents=True)
    for tar in range(size.tars):
        (folder / f"train/images_{tar:03d}.tar").write_bytes(b"stub")
    ids = gldv2.write_csv(folder / "train.csv", gldv2.class_sizes()[:: size.share])
    np.save(folder / gldv2.IDS, ids)
    return len(ids)


def rehearse_all(sizes: Sequence[Size], folder: Path) -> list[dict[str, float]]:
    """Rehearse with each size, all on one Ray; see `rehearsed`."""
    return [rehearsed(size, folder / f"{size.share}") for size in sizes]


def rehearse(folder: str, buckets: int) -> dict[str, dict[str, float]]:
    """Run the stages; seconds and peak GiB of the driver for each, and for the page."""
    options = {
        "sample": {"buckets": buckets},
        "cluster": {"cpus": CORES},
        "train": {"weights": "none"},
    }
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
    """Rehearse with a sixteenth, to start all workers; with a quarter; and with everything."""
    sizes = [size.divided(16), size.divided(4), size]
    _, quarter, whole = in_own_process(rehearse_all, sizes, folder)
    image_gib = (whole["peak_gib"] - quarter["peak_gib"]) / (whole["images"] - quarter["images"])
    whole["peak_gib"] += image_gib * (gldv2.IMAGES - whole["images"])
    whole["growth"] = whole.pop("image_s") / quarter["image_s"]
    del whole["images"]
    return whole


def pair_s() -> float:
    """Seconds in which one thread matches two images that show different things."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(2):
        keypoints = rng.uniform(0, 640, (1000, 4)).astype(np.float32)
        descriptors = quantise(rng.normal(size=(1000, 128)).astype(np.float32))
        images.append(ImageFeatures(keypoints, descriptors, 640))
    match = partial(match_pair, *images, MatchingRule.sift(), stop_below=Config().match.min_inliers)
    with threadpool_limits(1):
        return min(timeit.repeat(match, number=10)) / 10


def rehearsed(size: Size, folder: Path) -> dict[str, float]:
    """Generate, rehearse and count; the figures, the images, and the seconds for each of them."""
    print("generating the source", file=sys.stderr)
    images = generate(size, folder)
    stages = rehearse(str(folder), size.buckets)
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
    pairs = counts["match"]["facts"]["pairs"]
    files.pop("rejects", None)  # of which each stage has its own
    return {
        "images": images,
        "image_s": sum(row["s"] for row in stages.values()) / images,
        "peak_gib": max(row["gib"] for row in stages.values()),
        "scheduling": CORES * stages["match"]["s"] / pairs / pair_s(),
        "sample_s": stages["sample"]["s"],
        "files": max(files.values()) / shards,
        **{f"page_{name}": value for name, value in page.items()},
    }


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(8, 62, 16),
        large=Size(1, 500, 128),
        smoke=Size(2_000, 2, 2),
    )

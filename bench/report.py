"""The curation report at full size: 2 million images of 203,094 landmarks, on made-up tables.

    python bench/report.py

2 minutes. To expect: a page of less than 50 MB (photos in it are sampled: they don't grow with the
data, and here there are none), in less than 4 GiB.
"""

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pyarrow as pa
from common import finish, report
from metadata import CLASSES, class_sizes, peak_gib

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.reports.curation_page import page

IMAGES, SHARDS = 2_000_000, 64
MOST_MB, MOST_GIB = 50, 4
NAME = "https://commons.wikimedia.org/wiki/Category:Some_church_in_a_town_with_a_long_name_{}"


def write(tables: Root) -> None:
    """Tables of a run up to clean."""
    rng = np.random.default_rng(0)
    sizes = class_sizes()
    landmarks = np.repeat(np.arange(CLASSES), np.minimum(sizes, 500))
    landmarks = np.sort(rng.choice(landmarks, IMAGES, replace=False))
    ids = np.array([f"{i:016x}" for i in range(IMAGES)], object)
    reasons = np.array(["", "unverified", "over_cap", "small_class", "no_building"], object)
    reason = reasons[rng.choice(5, IMAGES, p=[0.6, 0.25, 0.05, 0.05, 0.05])]
    for shard, rows in enumerate(np.array_split(np.arange(IMAGES), SHARDS)):
        none = np.full(len(rows), "", object)
        both = {"image_id": ids[rows], "landmark_id": landmarks[rows], "reason": reason[rows]}
        both["keep"] = reason[rows] == ""
        inliers = rng.integers(0, 60, len(rows), np.int32)
        kept = pa.table({**both, "partner": ids[rows[::-1]], "inliers": inliers})
        tables.commit("kept", 0, shard, kept.select(schemas.KEPT.names).cast(schemas.KEPT), "{}")
        cleaned = pa.table({**both, "verdict": none, "note": none})
        cleaned = cleaned.select(schemas.CLEANED.names).cast(schemas.CLEANED)
        tables.commit("cleaned", 0, shard, cleaned, "{}")
        catalog = {"image_id": ids[rows], "landmark_id": landmarks[rows]}
        catalog["shard"] = np.full(len(rows), shard, np.int32)
        tables.write_table(f"catalog/bucket=0/part-{shard}.parquet", pa.table(catalog))
    tables.ensure("duplicates")
    names = {"landmark_id": np.arange(CLASSES), "name": [NAME.format(i) for i in range(CLASSES)]}
    counts = {"images": sizes, "chosen": np.minimum(sizes, 500)}
    table = pa.table({**names, **counts}).cast(schemas.LANDMARKS)
    tables.write_table("landmarks/landmarks.parquet", table)
    funnel = {"images_in": IMAGES, "images_out": IMAGES // 2, "classes_in": CLASSES}
    funnel |= {
        "classes_out": CLASSES,
        "why": {"no_building": IMAGES // 2},
        "facts": {},
        "notes": [],
    }
    record = {"funnel": funnel, "fingerprint": "feed", "seconds": 1.0}
    tables.write_json("_ledger/clean.json", record)


def measure(root: str) -> dict[str, float]:
    """Make the page."""
    begun = time.monotonic()
    made = page(Root(root), Config(root=root, source="SOURCE"))
    return {
        "seconds": time.monotonic() - begun,
        "megabytes": len(made.encode()) / 1e6,
        "peak_gib": peak_gib(),
    }


def main() -> None:
    """Write the tables here, make the page in another process."""
    with tempfile.TemporaryDirectory(prefix="bench-report-") as folder:
        write(Root(folder))
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(measure, folder).result()
    report(f"A page for {IMAGES:,} images", list(found), [list(found.values())])
    finish(found, found["megabytes"] <= MOST_MB and found["peak_gib"] <= MOST_GIB)


if __name__ == "__main__":
    main()

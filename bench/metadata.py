"""Metadata of all of GLDv2: how long sample, group and split take, and how much memory.

Generated: a train.csv of GLDv2's size (4,132,914 rows, 203,094 classes of its sizes, ids and urls
that look like its own), and clusters of near-duplicates. Measured, in a process
of its own that may use two cores: the job `sample` as pipeline.py runs it (the csv read twice, for
its fingerprint and for its rows; classes chosen, capped at 500; catalog written), then the stage
`group` (groups, clusters of near-duplicates, split) on the catalog capped at 100 a class.

    python bench/metadata.py

1.5 minutes; 1 GB in a temporary folder. To expect: at most 60 s and 4 GiB.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from common import finish, report
from gldv2 import CLASSES, IMAGES, class_sizes, peak_gib, write_csv

from landmark_ray import pipeline
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.stages.group import assign, clusters

CORES = 2
CAP = 100
NEAR_DUPLICATES = 0.05
MOST_SECONDS, MOST_GIB = 60, 4


def duplicates_of(ids: np.ndarray, landmarks: np.ndarray) -> pa.Table:
    """Rows of `duplicates`: a share of the images are copies of the one before, of their class."""
    rng = np.random.default_rng(1)
    same = np.flatnonzero(landmarks[1:] == landmarks[:-1]) + 1
    near = rng.choice(same, int(NEAR_DUPLICATES * len(same)), replace=False)
    rows = np.concatenate([near, near - 1])
    of = np.concatenate([near - 1, near - 1])
    return pa.table(
        {
            "image_id": ids[rows],
            "cluster": ids[of],
            "landmarks": [[landmark] for landmark in landmarks[rows].tolist()],
        }
    )


def measure(folder: str) -> dict[str, float]:
    """Run both stages' code; seconds and counts."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    pa.set_cpu_count(CORES)
    config = Config(root=f"{folder}/root", source=folder, sample={"buckets": 128})
    tables = Root(config.root)
    begun = time.monotonic()
    pipeline.run_stage("sample", config, tables, Source(folder))
    sampled = time.monotonic()
    after_sample = peak_gib()

    catalog = tables.dataset("catalog").to_table(["image_id", "landmark_id"])
    rows = catalog.sort_by("landmark_id").to_pandas()
    rows = rows[rows.groupby("landmark_id").cumcount() < CAP]
    ids, landmarks = rows["image_id"].to_numpy(object), rows["landmark_id"].to_numpy()
    duplicates = duplicates_of(ids, landmarks)
    del catalog, rows
    generated = time.monotonic()
    cluster = clusters(ids, duplicates)
    groups, validates = assign(ids, landmarks, cluster, config)
    grouped = time.monotonic()
    assert len(pd.unique(groups)) == len(config.group.edges) and 0.2 < validates.mean() < 0.4
    return {
        "sample_s": sampled - begun,
        "group_s": grouped - generated,
        "seconds": sampled - begun + grouped - generated,
        "sample_peak_gib": after_sample,
        "peak_gib": peak_gib(),
        "rows": len(ids),
        "classes": len(pd.unique(landmarks)),
    }


def main() -> None:
    """Generate in this process, measure in another."""
    with tempfile.TemporaryDirectory(prefix="bench-metadata-") as folder:
        print(f"generating {IMAGES:,} rows", file=sys.stderr)
        write_csv(Path(folder) / "train.csv", class_sizes())
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(measure, (folder,))
    report(
        f"{IMAGES:,} images of {CLASSES:,} classes, {CORES} cores",
        ["part", "seconds", "peak GiB", "images out", "classes out"],
        [
            ["sample", found["sample_s"], found["sample_peak_gib"], "", ""],
            ["group + split", found["group_s"], found["peak_gib"], "", ""],
            ["total", found["seconds"], found["peak_gib"], found["rows"], found["classes"]],
            ["at most", MOST_SECONDS, MOST_GIB, "", ""],
        ],
    )
    met = found["seconds"] <= MOST_SECONDS and found["peak_gib"] <= MOST_GIB
    finish(found, met)


if __name__ == "__main__":
    main()

"""Duplicates among a million images: hashes compared, candidates confirmed, clusters made.

The hashes are generated: classes of GLDv2's sizes; a twentieth of the images are copies, in the
same class or another, that differ in up to 4 bits; 20,000 share one hash, as a web server's
placeholder does. A quarter of a million first, for the growth: four times the images may take 4.8
times as long at most. What is planted must be found, in 5 minutes and 4 GiB.

    python bench/clean.py

Half a minute.
"""

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pyarrow as pa
from common import finish, report
from metadata import CORES, peak_gib

from landmark_ray.config import Config
from landmark_ray.kernels import duplicates
from landmark_ray.kernels.image import THUMBNAIL
from landmark_ray.stages.dedupe import clustered

IMAGES = 1_000_000
COPIES, FLIPPED, PLACEHOLDERS = 0.05, 4, 0.02
MOST_GROWTH, MOST_SECONDS, MOST_GIB, LEAST_FOUND = 1.2, 300, 4, 0.999


def generated(images: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[N] classes, [N] hashes, [N] the image that each is a copy of, or itself."""
    rng = np.random.default_rng(seed)
    sizes = np.clip(rng.pareto(0.8, images).astype(int) + 1, 1, 500)
    classes = np.repeat(np.arange(images), sizes)[:images]
    hashes = rng.integers(0, 1 << 64, images, np.uint64)
    original = np.arange(images)
    copies = rng.choice(images, int(COPIES * images), replace=False)
    sources = np.setdiff1d(np.arange(images), copies)
    placeholders = sources[: int(PLACEHOLDERS * images)]
    hashes[placeholders], original[placeholders] = hashes[placeholders[0]], placeholders[0]
    sources = sources[len(placeholders) :]
    within = rng.random(len(copies)) < 0.5
    near = np.searchsorted(sources, copies).clip(0, len(sources) - 1)
    original[copies] = np.where(within, sources[near], rng.choice(sources, len(copies)))
    hashes[copies] = hashes[original[copies]]
    for _ in range(FLIPPED):
        bit = rng.integers(0, 64, len(copies)).astype(np.uint64)
        hashes[copies] ^= np.where(rng.random(len(copies)) < 0.5, np.uint64(1) << bit, 0).astype(
            np.uint64
        )
    return classes, hashes, original


def thumbnails(rows: np.ndarray, original: np.ndarray) -> np.ndarray:
    """[R, H, W] of some images: noise of its own for each original."""
    first, place = np.unique(original[rows], return_inverse=True)
    side = THUMBNAIL // 8
    small = np.random.default_rng(0).integers(0, 256, (len(first), side, side), np.uint8)
    return small.repeat(8, 1).repeat(8, 2)[place]


def measure(images: int) -> dict[str, float]:
    """Find the duplicates of so many images; seconds and shares."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    config = Config()
    classes, hashes, original = generated(images, seed=0)
    generated_gib = peak_gib()
    ids = pa.array([f"{i:016x}" for i in range(images)])
    digests = pa.array(
        list(np.arange(2 * images, dtype=np.uint64).reshape(-1, 2).view("V16")[:, 0].tolist()),
        pa.binary(16),
    )
    table = pa.table({"image_id": ids, "landmark_id": classes, "digest": digests})
    begun = time.monotonic()
    distinct, group = np.unique(hashes, return_inverse=True)
    search = partial(duplicates.near_pairs, distinct, config.dedupe.bits)
    with ProcessPoolExecutor(CORES, multiprocessing.get_context("fork")) as pool:
        pairs = duplicates.merged(list(pool.map(search, duplicates.ways(config.dedupe.bits))))
    compared = time.monotonic()
    wanted = np.bincount(group, minlength=len(distinct)) > 1
    wanted[pairs.ravel()] = True
    rows = np.flatnonzero(wanted[group])
    thumbs = thumbnails(rows, original)
    generating = time.monotonic()
    found = clustered(table.take(pa.array(rows)), group[rows], thumbs, pairs, config)
    ended = time.monotonic()
    label = np.full(images, -1)
    place = rows[found["row"].to_numpy()]
    label[place] = np.unique(found["cluster"].to_numpy(), return_inverse=True)[1]
    copies = np.flatnonzero(original != np.arange(images))
    same = (label[copies] >= 0) & (label[copies] == label[original[copies]])
    across = classes[copies] != classes[original[copies]]
    of = original[place]
    clusters = np.unique(label[place], return_inverse=True)[1]
    low, high = np.full(clusters.max() + 1, images), np.full(clusters.max() + 1, -1)
    np.minimum.at(low, clusters, of)
    np.maximum.at(high, clusters, of)
    return {
        "compare_s": compared - begun,
        "confirm_s": ended - generating,
        "seconds": compared - begun + ended - generating,
        "found_within": float(same[~across].mean()),
        "found_across": float(same[across].mean()),
        "mixed": float((low != high).mean()),
        "peak_gib": peak_gib(),
        "generated_gib": generated_gib,
        "images": images,
    }


def main() -> None:
    """Measure both sizes in processes of their own."""
    found = {}
    for images in (IMAGES // 4, IMAGES):
        print(f"{images:,} images", file=sys.stderr)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found[images] = pool.submit(measure, images).result()
    small, large = found.values()
    columns = ["compare_s", "confirm_s", "seconds", "found_within", "found_across", "peak_gib"]
    report(
        f"Duplicates, {CORES} cores",
        ["images", *columns],
        [[f"{row['images']:,}", *(row[name] for name in columns)] for row in found.values()],
    )
    figures = {
        **{name: large[name] for name in ("seconds", "peak_gib", "found_within", "found_across")},
        "mixed": large["mixed"],
        "growth": large["seconds"] / small["seconds"] / 4,
    }
    met = (
        figures["growth"] <= MOST_GROWTH
        and figures["seconds"] <= MOST_SECONDS
        and figures["peak_gib"] <= MOST_GIB
        and min(figures["found_within"], figures["found_across"]) >= LEAST_FOUND
    )
    finish(figures, met)


if __name__ == "__main__":
    main()

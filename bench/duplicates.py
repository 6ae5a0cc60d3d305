"""Duplicates among a million images: hashes compared, candidates confirmed, clusters made.

The hashes are generated: classes of GLDv2's sizes; a twentieth of the images are copies, in the
same class or another, that differ in up to 4 bits; 2% share one hash, as a web server's placeholder
does. The copies must be found. A run with a quarter of a million comes first, to see how the time
grows.

    python bench/duplicates.py [--smoke]

Half a minute.
"""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from common import CORES, Figure, in_own_process, peak_gib, run

from landmark_ray.config import Config
from landmark_ray.kernels import duplicates
from landmark_ray.kernels.perceptual_hash import THUMBNAIL
from landmark_ray.stages.dedupe import cluster_rows

COPIES, FLIPPED, PLACEHOLDERS = 0.05, 4, 0.02
QUARTER = 4

FIGURES = {
    "seconds": Figure("finding the duplicates among a million images", unit="s", most=300),
    "peak_gib": Figure(
        "memory for finding the duplicates among a million images", unit="GiB", most=4
    ),
    "found_within": Figure("planted copies found inside a landmark", least=0.999, quoted=False),
    "found_across": Figure("planted copies found across landmarks", least=0.999, quoted=False),
    "mixed": Figure("clusters of unlike images", most=0.001, quoted=False),
    "growth": Figure(
        "time for each image among a million", "a quarter of a million", most=1.2, quoted=False
    ),
}


@dataclass(frozen=True)
class Size:
    """How many images there are."""

    images: int


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
    """[R, H, W] thumbnails of some images: each original has noise of its own."""
    first, place = np.unique(original[rows], return_inverse=True)
    side = THUMBNAIL // 8
    small = np.random.default_rng(0).integers(0, 256, (len(first), side, side), np.uint8)
    return small.repeat(8, 1).repeat(8, 2)[place]


def find(images: int) -> dict[str, float]:
    """Find the duplicates among generated images; seconds and shares."""
    config = Config()
    classes, hashes, original = generated(images, seed=0)
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
        pairs = duplicates.merge_pairs(
            list(pool.map(search, duplicates.block_combinations(config.dedupe.bits)))
        )
    compared = time.monotonic()
    wanted = np.bincount(group, minlength=len(distinct)) > 1
    wanted[pairs.ravel()] = True
    rows = np.flatnonzero(wanted[group])
    thumbs = thumbnails(rows, original)
    generating = time.monotonic()
    clustering = cluster_rows(table.take(pa.array(rows)), group[rows], thumbs, pairs, config)
    ended = time.monotonic()
    label = np.full(images, -1)
    place = rows[clustering["row"].to_numpy()]
    label[place] = np.unique(clustering["cluster"].to_numpy(), return_inverse=True)[1]
    copies = np.flatnonzero(original != np.arange(images))
    same = (label[copies] >= 0) & (label[copies] == label[original[copies]])
    across = classes[copies] != classes[original[copies]]
    of = original[place]
    clusters = np.unique(label[place], return_inverse=True)[1]
    low, high = np.full(clusters.max() + 1, images), np.full(clusters.max() + 1, -1)
    np.minimum.at(low, clusters, of)
    np.maximum.at(high, clusters, of)
    return {
        "seconds": compared - begun + ended - generating,
        "found_within": float(same[~across].mean()),
        "found_across": float(same[across].mean()),
        "mixed": float((low != high).mean()),
        "peak_gib": peak_gib(),
    }


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Both numbers of images, in a process of its own each."""
    small = in_own_process(find, size.images // QUARTER)
    large: dict[str, float] = in_own_process(find, size.images)
    return {**large, "growth": large["seconds"] / small["seconds"] / QUARTER}


if __name__ == "__main__":
    run(measure, FIGURES, full=Size(1_000_000), smoke=Size(8_000))

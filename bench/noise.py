"""Agreement on made-up vectors up to the size of Google Landmarks, where 30% of photos are noise.

The vectors are those of `bench/vectors.py`. A quarter of the noise shows another landmark of the
set, the rest none; all of it is filed at random landmarks. Geometry is taken to verify a random 60%
of the true photos, and no noise. Neighbours and agreement are found by the code that `prune` runs,
with its default options, for 20,000 of the photos.

- added_*: share of the true photos that agreement keeps beyond those that geometry verifies.
- noise: share of the noise that agreement keeps.
- recall: share of the nearest photos that are found, where they are not compared one by one.
- core_minutes: time of one core for all photos, extrapolated from the photos that were sought;
  without reading descriptors and whitening.
- whitening: share of the true photos that agreement keeps if the whitening is fitted to a sample,
  less the share where it is fitted to all photos.

    python bench/noise.py [--smoke | --photos N]

6 minutes, 4 GiB of memory. `--photos` measures one size only, and prints its row.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import Figure, in_own_process, peak_gib, report, reset_peak, run
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from vectors import Made, whitened

from landmark_ray.config.curation import PruneConfig
from landmark_ray.data.descriptors import SAMPLE
from landmark_ray.kernels.agreement import agreement
from landmark_ray.kernels.neighbours import EXACT_UP_TO, Lists, build_lists, nearest_others
from landmark_ray.kernels.whitening import fit_whitening
from landmark_ray.stages.prune import QUERIES

LENGTH, VERIFIED = 256, 0.6
"""Of the vectors, and the share of the true photos that geometry verifies."""

OPTIONS, OTHERS = PruneConfig(), (0.8, 0.6)
"""Options of `prune`, and other agreements that are shown."""

COMPARED = 500
"""Number of photos whose neighbours are sought exactly, too."""

FIGURES = {
    "added_small": Figure("4,000 photos: true photos that agreement adds", "geometry", least=0),
    "added": Figure("4,100,000 photos: true photos that agreement adds", "geometry", least=0),
    "noise": Figure("4,100,000 photos, 30% noise: share of the noise that agreement keeps"),
    "recall": Figure("4,100,000 photos: recall of the 5 nearest", "exact search", least=0.95),
    "core_minutes": Figure("4,100,000 photos: search for the 5 nearest, one core", unit="min"),
    "gib": Figure("4,100,000 photos: memory of that search", unit="GiB", most=4),
    "whitening": Figure(
        "400,000 photos: share of true photos kept: whitening fitted to a sample minus to all"
    ),
}

Row = dict[str, float]


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        photos: numbers of photos; the last is the full size.
        whitened: number of photos at which both whitenings are compared.
        sought: number of photos whose neighbours are sought.
        exact_up_to: largest number of vectors that are all compared with each other.
    """

    photos: tuple[int, ...]
    whitened: int
    sought: int
    exact_up_to: int = EXACT_UP_TO


def made(photos: Made, whole: bool) -> NDArray[np.float16]:
    """Whitened vectors [N, d]; fit to all of them, or to as many as `prune` fits to."""
    sample = np.random.default_rng(1).permutation(len(photos))[: None if whole else SAMPLE]
    return whitened(photos, fit_whitening(photos.vectors(sample, 1)))


def sought(
    vectors: NDArray[np.float16], lists: Lists, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows [Q] of some photos, from ranges at random, and their neighbours [Q, K]."""
    ranges = lists.ranges(QUERIES)
    rows, near, count = [], [], 0
    for number in np.random.default_rng(3).permutation(len(ranges)):
        if count >= most:
            break
        _, start, end = ranges[number]
        rows.append(lists.order[start:end])
        near.append(nearest_others(vectors, lists, ranges[number], OPTIONS.neighbours))
        count += end - start
    return np.concatenate(rows), np.concatenate(near)


def recall(vectors: NDArray[np.float16], rows: NDArray[np.int64], near: NDArray[np.int64]) -> float:
    """Share of the nearest photos of some rows that were found."""
    some = np.random.default_rng(4).permutation(len(rows))[:COMPARED]
    others = np.delete(np.arange(len(vectors)), rows[some])
    order = np.concatenate([rows[some], others])
    every = Lists(order, np.array([0, len(order)]), np.zeros((1, 1), np.int64))
    best = nearest_others(vectors, every, (0, 0, len(some)), OPTIONS.neighbours)
    return float((near[some][:, :, None] == best[:, None]).any(axis=2).mean())


def measured(count: int, size: Size, whole: bool = False) -> Row:
    """Seek the neighbours of photos, and judge what agreement keeps; runs in its own process."""
    with threadpool_limits(1):
        photos = Made(count, LENGTH)
        shown, filed, vectors = photos.shown, photos.filed, made(photos, whole)
        del photos
        reset_peak()
        begun = time.process_time()
        lists = build_lists(vectors, size.exact_up_to)
        built = time.process_time()
        rows, near = sought(vectors, lists, size.sought)
        ended = time.process_time()
        memory = peak_gib()
        found = recall(vectors, rows, near)
    share = agreement(near, filed[rows], np.arange(count), filed)
    true = shown[rows] == filed[rows]
    verified = np.random.default_rng(5).random(len(rows)) < VERIFIED
    row = {"photos": count, "landmarks": len(np.unique(filed)), "verified": verified[true].mean()}
    for least in (OPTIONS.agreement, *OTHERS):
        kept = share >= np.float32(least)
        row[f"kept at {least:g}"] = (verified | kept)[true].mean()
        row[f"noise at {least:g}"] = kept[~true].mean()
    seconds = built - begun + (ended - built) * count / len(rows)
    return row | {"recall": found, "core_minutes": seconds / 60, "gib": memory}


def table(rows: Sequence[Row]) -> None:
    """Print rows as columns."""
    report(
        "Agreement with noise",
        ["", *(f"{row['photos']:,.0f}" for row in rows)],
        [[name, *(f"{row[name]:,.4g}" for row in rows)] for name in rows[0]],
    )


def measure(size: Size, folder: Path) -> Row:
    """Measure all sizes, each in a process of its own."""
    rows = [in_own_process(measured, count, size) for count in size.photos]
    table(rows)
    whole = in_own_process(measured, size.whitened, size, True)
    by_sample = rows[size.photos.index(size.whitened)]
    kept = f"kept at {OPTIONS.agreement:g}"
    return {
        "added_small": rows[0][kept] - rows[0]["verified"],
        "added": rows[-1][kept] - rows[-1]["verified"],
        "noise": rows[-1][f"noise at {OPTIONS.agreement:g}"],
        **{name: rows[-1][name] for name in ("recall", "core_minutes", "gib")},
        "whitening": by_sample[kept] - whole[kept],
    }


FULL = Size((4_000, 40_000, 400_000, 4_100_000), 400_000, 20_000)

if __name__ == "__main__":
    if "--photos" in sys.argv:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("--photos", type=int, required=True, metavar="N")
        table([in_own_process(measured, parser.parse_args().photos, FULL)])
    else:
        run(measure, FIGURES, full=FULL, smoke=Size((400, 2_000), 400, 300, 1_000))

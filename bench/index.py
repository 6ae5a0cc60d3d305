"""The index of photos on made-up vectors: recall against exact search, time of a query, memory.

The vectors are those of `bench/vectors.py`, whitened; the queries are further photos. 2,000,000
vectors of 512 numbers are searched by lists, and so are 100,000 of 128 numbers. A query is one
photo, in one thread.

    python bench/index.py [--smoke | --large]

8 minutes, 6 GiB of memory. `--large` has 4,100,000 vectors of 128 numbers in place of the former.
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from common import CORES, Figure, in_own_process, peak_gib, report, reset_peak, run
from threadpoolctl import threadpool_limits
from vectors import BLOCK, Made, whitened

from landmark_ray.data.descriptors import SAMPLE
from landmark_ray.kernels.photo_index import EXACT_UP_TO, PhotoIndex, divide
from landmark_ray.kernels.whitening import fit_whitening

NEIGHBOURS = 10
FIGURES = {
    "recall": Figure(
        "index of 2,000,000 photos: recall of the 10 nearest", "exact search", least=0.95
    ),
    "p50_ms": Figure("index of 2,000,000 photos: a query, median", unit="ms"),
    "gib": Figure("index of 2,000,000 photos: memory of the process that serves it", unit="GiB"),
    "small_recall": Figure(
        "index of 100,000 photos: recall of the 10 nearest", "exact search", least=0.95
    ),
    "small_p50_ms": Figure("index of 100,000 photos: a query, median", unit="ms", most=3),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        count: vectors of the large index.
        length: of each.
        small: vectors of the small one.
        exact_up_to: the largest number of vectors that are compared one by one.
        queries: photos that are sought.
    """

    count: int
    length: int
    small: int
    exact_up_to: int
    queries: int


def exact(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Rows [Q, NEIGHBOURS] of the nearest vectors, compared one by one."""
    cosines, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK].astype(np.float32)
        near, found = faiss.knn(queries, block, NEIGHBOURS, metric=faiss.METRIC_INNER_PRODUCT)
        cosines, rows = np.hstack([cosines, near]), np.hstack([rows, found + start])
        best = np.argsort(-cosines, axis=1)[:, :NEIGHBOURS]
        cosines, rows = (np.take_along_axis(values, best, 1) for values in (cosines, rows))
    return rows


def sought(count: int, length: int, exact_up_to: int, queries: int) -> tuple[float, float, float]:
    """Recall, milliseconds of a query, and GiB of the process."""
    photos, rng = Made(count, length), np.random.default_rng(1)
    whitening = fit_whitening(photos.vectors(rng.permutation(count)[:SAMPLE], 1), length)
    vectors = whitened(photos, whitening)
    chosen = whitening(photos.vectors(rng.permutation(count)[:queries], 3))
    del photos
    arrays = divide(vectors, exact_up_to)
    best = exact(vectors, chosen)
    reset_peak()
    index = PhotoIndex(arrays)
    memory = peak_gib()
    hits, milliseconds = [], []
    with threadpool_limits(1):
        for query, wanted in zip(chosen, best.tolist(), strict=True):
            begun = time.perf_counter()
            rows = index.search(query[None], NEIGHBOURS)[1][0]
            milliseconds.append(1000 * (time.perf_counter() - begun))
            hits.append(len({*rows.tolist()} & {*wanted}) / NEIGHBOURS)
    return statistics.mean(hits), statistics.median(milliseconds), memory


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Both indexes, each in a process of its own."""
    large = in_own_process(sought, size.count, size.length, size.exact_up_to, size.queries)
    small = in_own_process(sought, size.small, 128, EXACT_UP_TO, size.queries)
    figures = dict(zip(("recall", "p50_ms", "gib"), large, strict=True))
    figures |= {"small_recall": small[0], "small_p50_ms": small[1]}
    report(f"{size.count:,} vectors, {CORES} cores", ["", "value"], list(figures.items()))
    return figures


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(2_000_000, 512, 100_000, EXACT_UP_TO, 1000),
        large=Size(4_100_000, 128, 100_000, EXACT_UP_TO, 1000),
        smoke=Size(6000, 16, 500, 1000, 20),
    )

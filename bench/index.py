"""The index of photos on made-up vectors: recall against exact search, time of a query, memory.

The vectors are clustered as those of landmarks are: each landmark has a centre and 10 photos around
it, and the queries are further photos. 2,000,000 vectors of 512 numbers are searched by lists;
100,000 of 128 numbers, one by one. A query is one photo, in one thread.

    python bench/index.py [--smoke | --large]

4 minutes, 8 GiB of memory. `--large` has 4,100,000 vectors of 128 numbers in place of the former.
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from common import CORES, Figure, in_own_process, peak_gib, report, reset_peak, run

from landmark_ray.kernels.photo_index import EXACT_UP_TO, PhotoIndex, divide

PHOTOS = 10
"""Photos of a landmark."""

NEIGHBOURS = 10
FIGURES = {
    "recall": Figure(
        "index of 2,000,000 photos: recall of the 10 nearest", "exact search", least=0.95
    ),
    "p50_ms": Figure("index of 2,000,000 photos: a query, median", unit="ms"),
    "gib": Figure("index of 2,000,000 photos: memory of the process that serves it", unit="GiB"),
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


def made(count: int, length: int, seed: int) -> np.ndarray:
    """Vectors [count, length] of unit length around the centres of landmarks, by a seed."""
    vectors = np.empty((count, length), np.float16)
    for start in range(0, count, PHOTOS * 4096):
        end = min(start + PHOTOS * 4096, count)
        centres = np.random.default_rng(start).normal(size=(-(-(end - start) // PHOTOS), length))
        noise = np.random.default_rng([seed, start]).normal(size=(end - start, length))
        block = np.repeat(centres, PHOTOS, axis=0)[: end - start] + 0.8 * noise
        vectors[start:end] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def exact(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Rows [Q, NEIGHBOURS] of the nearest vectors, compared one by one."""
    search = faiss.IndexScalarQuantizer(
        vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    for start in range(0, len(vectors), 1 << 16):
        search.add(vectors[start : start + (1 << 16)].astype(np.float32))
    return np.asarray(search.search(queries, NEIGHBOURS)[1])


def sought(
    count: int, length: int, exact_up_to: int, queries: int
) -> tuple[np.ndarray, list[float], float]:
    """Rows found, milliseconds of each query, and GiB of the process."""
    arrays = divide(made(count, length, 0), exact_up_to)
    reset_peak()
    index = PhotoIndex(arrays)
    memory = peak_gib()
    chosen = wanted(count, length, queries)
    faiss.omp_set_num_threads(1)
    rows, milliseconds = [], []
    for query in chosen:
        begun = time.perf_counter()
        rows.append(index.search(query[None], NEIGHBOURS)[1][0])
        milliseconds.append(1000 * (time.perf_counter() - begun))
    return np.array(rows), milliseconds, memory


def wanted(count: int, length: int, queries: int) -> np.ndarray:
    """Further photos of some landmarks."""
    block = made(min(count, PHOTOS * 4096), length, 1)
    return block[:: max(len(block) // queries, 1)][:queries].astype(np.float32)


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Both indexes, each in a process of its own."""
    large = (size.count, size.length, size.exact_up_to, size.queries)
    rows, milliseconds, memory = in_own_process(sought, *large)
    best = exact(made(size.count, size.length, 0), wanted(size.count, size.length, size.queries))
    hits = [
        len({*a} & {*b}) / NEIGHBOURS for a, b in zip(rows.tolist(), best.tolist(), strict=True)
    ]
    _, small, _ = in_own_process(sought, size.small, 128, EXACT_UP_TO, size.queries)
    figures = {
        "recall": statistics.mean(hits),
        "p50_ms": statistics.median(milliseconds),
        "gib": memory,
        "small_p50_ms": statistics.median(small),
    }
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

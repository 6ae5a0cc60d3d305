"""Nearest neighbours by cosine within one set of vectors.

Up to `EXACT_UP_TO` vectors, each is compared with all others. A larger set is divided into lists by
k-means, as in an inverted file: a vector is compared with those of the lists whose centres are
nearest to it. Source: Jégou et al., "Product quantization for nearest neighbor search" (PAMI 2011),
section IV. Queries of one list probe much the same lists; so a list is read once for all of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXACT_UP_TO = 1_000_000
"""The largest number of vectors that are all compared with each other."""

PROBES = 32
"""Number of lists that a vector is compared with; `bench/noise.py` measures the recall."""

_SPARE = 8
"""Candidates beyond k that are compared again in double precision, so that the result does not
depend on how many queries a call has."""

_BLOCK = 1 << 16
"""Number of vectors in a list where all lists are compared."""


@dataclass(frozen=True)
class Lists:
    """The lists of a set of N vectors.

    Attributes:
        order: [N] rows of the vectors, list by list.
        offsets: [L + 1] where each list begins in `order`; the last is N.
        centres: [L, d] of the lists; empty where a vector is compared with those of all lists.
    """

    order: NDArray[np.int64]
    offsets: NDArray[np.int64]
    centres: NDArray[np.float32]

    def ranges(self, most: int) -> list[tuple[int, int]]:
        """Cut `order` into ranges (start, end) of at most `most` places."""
        count = len(self.order)
        return [(start, min(start + most, count)) for start in range(0, count, most)]


def build_lists(vectors: NDArray[np.float16], exact_up_to: int = EXACT_UP_TO) -> Lists:
    """Divide vectors [N, d] of unit length into lists; see `EXACT_UP_TO`."""
    count, length = vectors.shape
    if count <= exact_up_to:
        return one_by_one(np.arange(count), length)
    from landmark_ray.kernels.photo_index import divide  # imports faiss; see `nearest_others`

    divided = divide(vectors, exact_up_to)
    sizes = np.bincount(divided.lists, minlength=len(divided.centres))
    order = np.argsort(divided.lists, kind="stable")
    return Lists(order, np.cumsum([0, *sizes]), divided.centres)


def one_by_one(order: NDArray[np.int64], length: int) -> Lists:
    """Return lists with which each vector is compared with all others, in this order of rows."""
    offsets = np.append(np.arange(0, len(order), _BLOCK), len(order))
    return Lists(order, offsets, np.empty((0, length), np.float32))


def nearest_others(
    vectors: NDArray[np.float16],
    lists: Lists,
    chosen: tuple[int, int],
    k: int,
    probes: int = PROBES,
) -> NDArray[np.int64]:
    """Find the nearest other vectors of those in a range.

    Args:
        vectors: [N, d] of unit length.
        lists: Of `build_lists`.
        chosen: One of `Lists.ranges`.
        k: Number of neighbours.
        probes: See `PROBES`.

    Returns:
        [Q, k] rows for the Q places of the range, the nearest first, equally near ones by their
        rows; -1 where there are fewer.
    """
    import faiss  # takes 0.15 s, which runs without neighbours need not wait for

    rows = lists.order[slice(*chosen)]
    queries = vectors[rows].astype(np.float32)
    if len(lists.centres):
        most = min(probes, len(lists.centres))
        _, probed = faiss.knn(queries, lists.centres, most, metric=faiss.METRIC_INNER_PRODUCT)
    else:
        probed = np.tile(np.arange(len(lists.offsets) - 1), (len(rows), 1))
    wanted = k + 1 + _SPARE
    found = np.full((*probed.shape, wanted), -1, np.int64)
    cosines = np.full(found.shape, -np.inf, np.float32)
    by_list = np.argsort(probed, axis=None, kind="stable")
    numbers, starts = np.unique(probed.ravel()[by_list], return_index=True)
    for number, pairs in zip(numbers, np.split(by_list, starts[1:]), strict=True):
        candidates = lists.order[lists.offsets[number] : lists.offsets[number + 1]]
        query, place = np.unravel_index(pairs, probed.shape)
        block, most = vectors[candidates].astype(np.float32), min(wanted, len(candidates))
        if most:
            near, at = faiss.knn(queries[query], block, most, metric=faiss.METRIC_INNER_PRODUCT)
            found[query, place, :most], cosines[query, place, :most] = candidates[at], near
    best = np.argsort(-cosines.reshape(len(rows), -1), axis=1, kind="stable")[:, :wanted]
    nearest = np.take_along_axis(found.reshape(len(rows), -1), best, axis=1)
    return _nearest_of(vectors, rows, nearest, k)


def _nearest_of(
    vectors: NDArray[np.float16], rows: NDArray[np.int64], found: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Order candidates [Q, C] of queries [Q] by their exact cosines, and leave out the queries."""
    queries = vectors[rows].astype(np.float64)
    exact = np.stack(
        [(queries * vectors[column].astype(np.float64)).sum(axis=1) for column in found.T], axis=1
    )
    exact[(found == rows[:, None]) | (found < 0)] = -np.inf
    order = np.lexsort((found, -exact), axis=1)[:, :k]
    nearest = np.take_along_axis(found, order, axis=1)
    nearest[np.isneginf(np.take_along_axis(exact, order, axis=1))] = -1
    return np.pad(nearest, ((0, 0), (0, k - nearest.shape[1])), constant_values=-1)

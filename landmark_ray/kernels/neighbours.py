"""Nearest neighbours by cosine within one set of vectors.

Up to `EXACT_UP_TO` vectors, each is compared with all others. A larger set is divided into lists by
k-means, as in an inverted file: a vector is compared with those of the lists whose centres are
nearest to the centre of its own. Source: Jégou et al., "Product quantization for nearest neighbor
search" (PAMI 2011), section IV; k-means and search are those of faiss.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXACT_UP_TO = 1_000_000
"""The largest number of vectors that are all compared with each other."""

PROBES = 128
"""Number of lists that a vector is compared with, its own included."""

_SPARE = 8
"""Candidates beyond k that are compared again in double precision, so that the result does not
depend on how many queries a call has."""

_BLOCK = 1 << 16
"""Number of candidates that are converted to float32 at a time."""


@dataclass(frozen=True)
class Lists:
    """The lists of a set of N vectors.

    Attributes:
        order: [N] rows of the vectors, list by list.
        offsets: [L + 1] where each list begins in `order`; the last is N.
        probes: [L, P] the lists that are nearest to each list, itself first.
    """

    order: NDArray[np.int64]
    offsets: NDArray[np.int64]
    probes: NDArray[np.int64]

    def ranges(self, most: int) -> list[tuple[int, int, int]]:
        """Cut the lists into ranges (list, start, end) of at most `most` places of `order`."""
        return [
            (number, start, min(start + most, end))
            for number, (begin, end) in enumerate(
                zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True)
            )
            for start in range(begin, end, most)
        ]


def build_lists(
    vectors: NDArray[np.float16], exact_up_to: int = EXACT_UP_TO, probes: int = PROBES
) -> Lists:
    """Divide vectors into lists; up to `exact_up_to` vectors form a single one.

    Args:
        vectors: [N, d] of unit length.
        exact_up_to: See `EXACT_UP_TO`.
        probes: See `PROBES`.
    """
    count, length = vectors.shape
    if count <= exact_up_to:
        return Lists(np.arange(count), np.array([0, count]), np.zeros((1, 1), np.int64))
    import faiss  # takes 0.15 s, which runs without neighbours need not wait for

    from landmark_ray.kernels.photo_index import divide  # imports faiss, too

    divided = divide(vectors, exact_up_to)
    centres, lists = divided.centres, len(divided.centres)
    _, near = faiss.knn(centres, centres, min(probes, lists), metric=faiss.METRIC_INNER_PRODUCT)
    is_own = near == np.arange(lists)[:, None]
    near = np.take_along_axis(near, np.argsort(~is_own, axis=1, kind="stable"), axis=1)
    near[:, 0] = np.arange(lists)  # equal centres hide each other
    offsets = np.cumsum([0, *np.bincount(divided.lists, minlength=lists)])
    return Lists(np.argsort(divided.lists, kind="stable"), offsets, near)


def nearest_others(
    vectors: NDArray[np.float16], lists: Lists, chosen: tuple[int, int, int], k: int
) -> NDArray[np.int64]:
    """Find the nearest other vectors of those in a range.

    Args:
        vectors: [N, d] of unit length.
        lists: Of `build_lists`.
        chosen: One of `Lists.ranges`.
        k: Number of neighbours.

    Returns:
        [Q, k] rows for the Q places of the range, the nearest first, equally near ones by their
        rows; -1 where there are fewer.
    """
    import faiss  # see above

    number, start, end = chosen
    rows = lists.order[start:end]
    queries = vectors[rows].astype(np.float32)
    found: NDArray[np.int64] = np.empty((len(rows), 0), np.int64)
    cosines: NDArray[np.float32] = np.empty((len(rows), 0), np.float32)
    wanted = k + 1 + _SPARE
    for candidates in _blocks(lists, number):
        block = vectors[candidates].astype(np.float32)
        near, places = faiss.knn(
            queries, block, min(wanted, len(block)), metric=faiss.METRIC_INNER_PRODUCT
        )
        found = np.concatenate([found, candidates[places]], axis=1)
        cosines = np.concatenate([cosines, near], axis=1)
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :wanted]
        found = np.take_along_axis(found, best, axis=1)
        cosines = np.take_along_axis(cosines, best, axis=1)
    return _nearest_of(vectors, rows, found, k)


def _blocks(lists: Lists, number: int) -> list[NDArray[np.int64]]:
    """Return the rows of the lists that a list probes, in blocks."""
    rows = [lists.order[lists.offsets[i] : lists.offsets[i + 1]] for i in lists.probes[number]]
    joined = np.concatenate(rows)
    return [joined[i : i + _BLOCK] for i in range(0, len(joined), _BLOCK)]


def _nearest_of(
    vectors: NDArray[np.float16], rows: NDArray[np.int64], found: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Order candidates [Q, C] of queries [Q] by their exact cosines, and leave out the queries."""
    queries = vectors[rows].astype(np.float64)
    exact = np.stack(
        [(queries * vectors[column].astype(np.float64)).sum(axis=1) for column in found.T], axis=1
    )
    exact[found == rows[:, None]] = -np.inf
    order = np.lexsort((found, -exact), axis=1)[:, :k]
    nearest = np.take_along_axis(found, order, axis=1)
    nearest[np.isneginf(np.take_along_axis(exact, order, axis=1))] = -1
    return np.pad(nearest, ((0, 0), (0, k - nearest.shape[1])), constant_values=-1)

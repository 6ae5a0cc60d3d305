"""How similar a photo is to each landmark: the mean cosine of the landmark's nearest photos."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PHOTOS = 3
"""Number of photos of a landmark whose cosines are averaged."""


@dataclass(frozen=True)
class Similarities:
    """The landmarks of the nearest photos of some queries.

    Attributes:
        landmarks: [Q, K] landmark ids, the most similar first; -1 where there are fewer.
        values: [Q, K] similarity of each, -1 to 1; -1 where there are fewer.
        floor: [Q] an upper bound of the similarity of all other landmarks.
    """

    landmarks: NDArray[np.int64]
    values: NDArray[np.float32]
    floor: NDArray[np.float32]


def landmark_similarities(
    cosines: NDArray[np.float32],
    rows: NDArray[np.int64],
    landmarks: NDArray[np.int64],
    photos: int = PHOTOS,
) -> Similarities:
    """Average the cosines of each landmark's nearest photos.

    Where fewer than `photos` photos of a landmark are among the neighbours, the others are at most
    as similar as the last neighbour, and count as much.

    Args:
        cosines: [Q, K] of the neighbours, falling.
        rows: [Q, K] of the neighbours in the index; -1 where there are fewer.
        landmarks: [N] landmark of each row of the index.
        photos: Number of photos of a landmark that count.
    """
    count, k = rows.shape
    found = np.full((count, k), -1, np.int64)
    values = np.full((count, k), -1, np.float32)
    floor = np.where(rows[:, -1] < 0, -1, cosines[:, -1]).astype(np.float32)
    for query in range(count):
        known = rows[query] >= 0
        near = cosines[query, known]
        ids, first, own = np.unique(
            landmarks[rows[query, known]], return_index=True, return_inverse=True
        )
        order = np.argsort(own, kind="stable")
        rank = np.empty(len(own), np.int64)
        starts = np.searchsorted(own[order], np.arange(len(ids)))
        rank[order] = np.arange(len(own)) - starts[own[order]]
        counted = rank < photos
        sums = np.bincount(own[counted], near[counted], len(ids))
        number = np.bincount(own[counted], minlength=len(ids))
        mean = (sums + (photos - number) * floor[query]) / photos
        best = np.lexsort((first, -mean))
        found[query, : len(ids)], values[query, : len(ids)] = ids[best], mean[best]
    return Similarities(found, values, floor)

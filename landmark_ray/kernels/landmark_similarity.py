"""How similar a photo is to landmarks: to the nearest of their photos, and to their mean."""

import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.whitening import unit_length

PHOTOS = 3
"""Number of photos of a landmark whose cosines are averaged."""


def to_nearest_photos(
    wanted: NDArray[np.int64],
    cosines: NDArray[np.float32],
    landmarks: NDArray[np.int64],
    photos: int = PHOTOS,
) -> NDArray[np.float32]:
    """Average the cosines of the nearest photos of landmarks.

    Where fewer than `photos` photos of a landmark are among the neighbours, the others are at most
    as similar as the last neighbour, and count as much.

    Args:
        wanted: [Q, C] landmark ids.
        cosines: [Q, K] of each query's nearest photos, falling; -1 where there are fewer.
        landmarks: [Q, K] their landmarks.
        photos: Number of photos of a landmark that count.

    Returns:
        [Q, C] similarities, -1 to 1.
    """
    is_own = landmarks[:, None, :] == wanted[:, :, None]
    counts = is_own & (is_own.cumsum(axis=2) <= photos)
    missing = photos - counts.sum(axis=2)
    sums = np.where(counts, cosines[:, None, :], 0).sum(axis=2) + missing * cosines[:, -1:]
    return np.asarray(sums / photos, np.float32)


def sums_by_landmark(
    vectors: NDArray[np.float16], landmarks: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Add up the vectors of each landmark; at unit length, a sum is the landmark's mean.

    Args:
        vectors: [N, d] of unit length.
        landmarks: [N] landmark of each.

    Returns:
        Landmark ids [L], rising, and sums [L, d].
    """
    ids, own = np.unique(landmarks, return_inverse=True)
    order = np.argsort(own, kind="stable")
    starts = np.searchsorted(own[order], np.arange(len(ids)))
    sums = np.zeros((len(ids), vectors.shape[1]), np.float32)
    for row, rows in enumerate(np.split(order, starts[1:])[: len(ids)]):
        sums[row] = vectors[rows].sum(axis=0, dtype=np.float32)
    return ids, sums


def without_photos(
    total: NDArray[np.float32], photos: NDArray[np.float16]
) -> NDArray[np.float32] | None:
    """Return the mean [d], of unit length, of a landmark without some of its photos [n, d].

    It is None where no other photo is left.
    """
    left = total - photos.sum(axis=0, dtype=np.float32)
    return unit_length(left[None])[0] if np.linalg.norm(left) > 1e-2 else None

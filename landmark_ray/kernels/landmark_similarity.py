"""How similar a photo is to landmarks: to the nearest of their photos, and to their mean."""

import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.metrics import NO_LANDMARK

PHOTOS = 3
"""Number of photos of a landmark whose cosines are averaged, if it has many."""

LEAST_ALIKE = 0.05
"""Photos of a landmark count as at least so similar to each other, on average."""


def nearest_of(photos: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for numbers of photos of landmarks how many of the nearest count.

    They are a tenth, at least 1 and at most `PHOTOS`: of a landmark of 5 photos, the third nearest
    shows another viewpoint than the query.
    """
    return np.clip(-(-photos // 10), 1, PHOTOS)


def to_nearest_photos(
    wanted: NDArray[np.int64],
    cosines: NDArray[np.float32],
    landmarks: NDArray[np.int64],
    photos: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Average the cosines of the nearest photos of landmarks.

    Where fewer photos of a landmark are among the neighbours than count, the others are at most as
    similar as the last neighbour, and count as much; -1 where there is no neighbour. An index that
    has fewer photos than a query has neighbours thus gives nearly the same after a few more.

    Args:
        wanted: [Q, C] landmark ids.
        cosines: [Q, K] of each query's nearest photos, falling; -1 where there are fewer.
        landmarks: [Q, K] their landmarks; `NO_LANDMARK` where there are fewer.
        photos: [Q, C] number of nearest photos of each wanted landmark that count, 1 or more.

    Returns:
        [Q, C] similarities, -1 to 1.
    """
    is_own = landmarks[:, None, :] == wanted[:, :, None]
    counts = is_own & (is_own.cumsum(axis=2) <= photos[:, :, None])
    missing = photos - counts.sum(axis=2)
    is_photo = landmarks != NO_LANDMARK
    last = np.where(is_photo, cosines, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    last = np.where(is_photo.any(axis=1, keepdims=True), last, -1)
    sums = np.where(counts, cosines[:, None, :], 0).sum(axis=2) + missing * last
    return np.asarray(sums / photos, np.float32)


def sums_by_landmark(
    vectors: NDArray[np.float16], landmarks: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Add up the vectors of each landmark.

    Args:
        vectors: [N, d] of unit length.
        landmarks: [N] landmark of each.

    Returns:
        Landmark ids [L], rising, sums [L, d], and numbers of photos [L].
    """
    ids, own, photos = np.unique(landmarks, return_inverse=True, return_counts=True)
    order = np.argsort(own, kind="stable")
    sums = np.zeros((len(ids), vectors.shape[1]), np.float32)
    for row, rows in enumerate(np.split(order, np.cumsum(photos)[:-1])[: len(ids)]):
        sums[row] = vectors[rows].sum(axis=0, dtype=np.float32)
    return ids, sums, photos


def means(sums: NDArray[np.float32], photos: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the means of landmarks, at the length at which few photos count as much as many.

    The mean of few photos points away from the mean that many would have, so that further photos
    of the landmark are less similar to it. The cosines of pairs of photos do not depend on their
    number: a mean is divided by the root of their average, in place of its own length.

    Args:
        sums: [L, d] of the vectors of each landmark.
        photos: [L] their numbers.

    Returns:
        [L, d] of length 1, or a little more.
    """
    length = np.maximum(photos, 1) * usual_similarity(sums, photos)
    return np.asarray(sums / length[:, None], np.float32)


def usual_similarity(sums: NDArray[np.float32], photos: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return how similar a photo of a landmark is to the mean of its others, on average.

    It is the root of the average cosine of pairs of its photos; 1 for landmarks of one photo.

    Args:
        sums: [L, d] of the vectors of each landmark, which have length 1.
        photos: [L] their numbers.

    Returns:
        [L], above 0 and at most 1.
    """
    alike = ((sums**2).sum(axis=1) - photos) / np.maximum(photos * (photos - 1), 1)
    usual = np.sqrt(np.clip(alike, LEAST_ALIKE, 1))
    return np.where(photos > 1, usual, 1).astype(np.float32)


def without_photos(
    total: NDArray[np.float32], photos: int, out: NDArray[np.float16]
) -> NDArray[np.float32] | None:
    """Return the mean [d] of a landmark without some of its photos; see `means`.

    Args:
        total: [d] sum of the vectors of all its photos.
        photos: Their number.
        out: [n, d] vectors of those that do not count.

    Returns:
        The mean, or None where no other photo is left.
    """
    left = photos - len(out)
    if left < 1:
        return None
    sums = total - out.sum(axis=0, dtype=np.float32)
    return means(sums[None], np.array([left]))[0]

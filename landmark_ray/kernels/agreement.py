"""Agreement: whether the photos that resemble a photo most are of its landmark.

Geometry loses the viewpoints that share no plane with another photo: the other side of a building,
another bay. Their global descriptors still lie among those of their landmark, while the descriptor
of a photo that is filed wrongly lies among those of other landmarks, or of several.
"""

import numpy as np
from numpy.typing import NDArray


def nearest_others(
    cosines: NDArray[np.float32],
    rows: NDArray[np.int64],
    clusters: NDArray[np.int64],
    own_clusters: NDArray[np.int64],
    k: int,
) -> NDArray[np.int64]:
    """Choose the nearest photos that are not copies of a photo, one of each photo's copies.

    Args:
        cosines: [Q, K] of candidates, in any order.
        rows: [Q, K] of the candidates in the index; -1 is none.
        clusters: [N] number of the photo that a row of the index shows; copies have the same.
        own_clusters: [Q] number of the photo that each query shows.
        k: Number of neighbours.

    Returns:
        [Q, k] rows, the nearest first; -1 where there are not enough candidates. Equally near
        candidates come in the order of their rows.
    """
    order = np.lexsort((rows, -cosines), axis=1)
    rows = np.take_along_axis(rows, order, axis=1)
    shown = np.where(rows < 0, -1, clusters[rows])
    usable = (rows >= 0) & (shown != own_clusters[:, None])
    for column in range(1, rows.shape[1]):
        usable[:, column] &= ~((shown[:, :column] == shown[:, [column]]) & usable[:, :column]).any(
            1
        )
    place = np.argsort(~usable, axis=1, kind="stable")[:, :k]
    chosen = np.where(
        np.take_along_axis(usable, place, axis=1), np.take_along_axis(rows, place, axis=1), -1
    )
    missing = max(k - chosen.shape[1], 0)
    return np.pad(chosen, ((0, 0), (0, missing)), constant_values=-1)


def agreement(
    neighbours: NDArray[np.int64],
    landmarks: NDArray[np.int64],
    own_landmarks: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Compute the share of each photo's neighbours that are of its landmark.

    Args:
        neighbours: [Q, k] rows of the index, from `nearest_others`; a missing one does not agree.
        landmarks: [N] landmark of each row of the index.
        own_landmarks: [Q] landmark of each photo.

    Returns:
        [Q] from 0 to 1.
    """
    agree = (neighbours >= 0) & (landmarks[neighbours] == own_landmarks[:, None])
    return agree.mean(axis=1, dtype=np.float32)

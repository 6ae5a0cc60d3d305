"""Agreement: whether the photos that resemble a photo most are of its landmark.

Geometry loses the viewpoints that share no plane with another photo: the other side of a building,
another bay. Their global descriptors still lie among those of their landmark, while the descriptor
of a photo that is filed wrongly lies among those of other landmarks, or of several.
"""

import numpy as np
from numpy.typing import NDArray


def agreement(
    neighbours: NDArray[np.int64],
    landmarks: NDArray[np.int64],
    rows: NDArray[np.int64],
    row_landmarks: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Compute the share of each photo's neighbours that are of its landmark.

    Args:
        neighbours: [Q, k] numbers of the photos that are nearest to each photo; -1 where there are
            fewer, which does not agree.
        landmarks: [Q] landmark of each photo.
        rows: [M] numbers of photos. A photo with copies under several landmarks occurs with each.
        row_landmarks: [M] landmark under which each of them is filed.

    Returns:
        [Q] from 0 to 1.
    """
    known = np.unique(row_landmarks)
    filed = np.unique(rows * len(known) + np.searchsorted(known, row_landmarks))
    own = np.minimum(np.searchsorted(known, landmarks), len(known) - 1)
    asked = neighbours * len(known) + own[:, None]
    place = np.minimum(np.searchsorted(filed, asked), len(filed) - 1)
    agree = (filed[place] == asked) & (neighbours >= 0) & (known[own] == landmarks)[:, None]
    return agree.mean(axis=1, dtype=np.float32)

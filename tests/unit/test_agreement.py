"""Which photos are a photo's neighbours, and what they say of its landmark."""

import numpy as np
import pytest

from landmark_ray.kernels.agreement import agreement, nearest_others

CLUSTERS = np.array([0, 0, 1, 2, 2, 3])
"""Rows 0 and 1 show one photo, rows 3 and 4 another one."""


def nearest(cosines, rows, own, k=2):
    found = nearest_others(
        np.array([cosines], np.float32), np.array([rows]), CLUSTERS, np.array([own]), k
    )
    return found[0].tolist()


@pytest.mark.parametrize(
    ("cosines", "rows", "own", "expected"),
    [
        ([1.0, 0.9, 0.8, 0.7], [0, 1, 2, 5], 0, [2, 5]),  # itself and its copy aside
        ([0.9, 0.8, 0.7, 0.6], [3, 4, 2, 5], 0, [3, 2]),  # one of the other photo's copies
        ([0.7, 0.9, 0.8, 0.6], [2, 5, 3, 4], 9, [5, 3]),  # in any order
        ([0.5, 0.5, 0.5], [5, 2, 3], 9, [2, 3]),  # equally near: by row
        ([0.9, 0.8, -1.0], [0, 2, -1], 0, [2, -1]),  # there are no more
        ([0.9], [2], 9, [2, -1]),
    ],
)
def test_neighbours_are_other_photos(cosines, rows, own, expected):
    assert nearest(cosines, rows, own) == expected


def test_agreement_is_the_share_of_neighbours_of_the_own_landmark():
    neighbours = np.array([[0, 2], [0, -1], [-1, -1], [5, 4]])
    landmarks = np.array([7, 7, 7, 8, 8, 9])
    found = agreement(neighbours, landmarks, np.array([7, 7, 7, 7]))
    assert found.tolist() == [1, 0.5, 0, 0]

"""What a photo's neighbours say of its landmark."""

import numpy as np

from landmark_ray.kernels.agreement import agreement

ROWS = np.array([0, 1, 2, 3, 3, 4])
FILED = np.array([70, 70, 70, 80, 90, 90])
"""Photo 3 has copies under two landmarks."""


def judged(neighbours, landmarks):
    return agreement(np.array(neighbours), np.array(landmarks), ROWS, FILED).tolist()


def test_agreement_is_the_share_of_neighbours_of_the_own_landmark():
    assert judged([[0, 1], [0, 4], [3, 4], [4, 3]], [70, 70, 90, 70]) == [1, 0.5, 1, 0]


def test_a_photo_with_copies_under_two_landmarks_agrees_with_both():
    assert judged([[3], [3], [3]], [80, 90, 70]) == [1, 1, 0]


def test_a_missing_neighbour_does_not_agree():
    assert judged([[0, -1], [-1, -1]], [70, 70]) == [0.5, 0]


def test_a_landmark_without_any_photo_in_the_index_agrees_with_none():
    assert judged([[0], [4], [3]], [60, 85, 100]) == [0, 0, 0]

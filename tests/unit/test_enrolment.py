"""Whether photos that someone wants to enrol show one landmark."""

import numpy as np

from landmark_ray.kernels.enrolment import examine, two_things


def around(centre, count, seed, spread=0.2):
    x = centre + spread * np.random.default_rng(seed).normal(size=(count, len(centre)))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


AXES = np.eye(8, dtype=np.float32)


def nothing(count):
    return np.zeros((count, count), bool)


def far(count):
    return np.full((count, 5), 0.1, np.float32)


def test_photos_of_one_thing_fit_and_are_one_part():
    found = examine(around(AXES[0], 6, 1), nothing(6), far(6))
    assert found.fits.all() and len(set(found.parts.tolist())) == 1


def test_a_photo_that_resembles_other_landmarks_does_not_fit():
    x = np.concatenate([around(AXES[0], 4, 1), around(AXES[1], 1, 2)])
    others = far(5)
    others[4] = 0.8
    found = examine(x, nothing(5), others)
    assert found.fits.tolist() == [True] * 4 + [False] and found.parts[4] == -1


def test_geometry_keeps_a_photo_that_resembles_none():
    x = np.concatenate([around(AXES[0], 4, 1), around(AXES[1], 1, 2)])
    others, verified = far(5), nothing(5)
    others[4] = 0.8
    verified[0, 4] = verified[4, 0] = True
    found = examine(x, verified, others)
    assert found.fits.all() and len(set(found.parts.tolist())) == 1


def test_two_things_that_resemble_other_landmarks_more_than_each_other():
    x = np.concatenate([around(AXES[0], 4, 1), around(AXES[1], 4, 2)])
    found = examine(x, nothing(8), far(8))
    assert len(set(found.parts.tolist())) == 2
    near_both = (
        around((AXES[0] + AXES[2]) / 2**0.5, 1, 3, 0),
        around((AXES[1] + AXES[3]) / 2**0.5, 1, 3, 0),
    )
    assert two_things(x, found.parts, np.concatenate(near_both)) == (0, 1)


def test_two_views_of_one_thing_may_resemble_each_other_little():
    x = np.concatenate(
        [around(AXES[0] + 0.6 * AXES[1], 4, 1), around(AXES[1] + 0.6 * AXES[0], 4, 2)]
    )
    parts = np.repeat([0, 1], 4)
    assert two_things(x, parts, around(AXES[5], 3, 4)) is None


def test_single_photos_are_no_things():
    x = np.concatenate([around(AXES[0], 4, 1), around(AXES[1], 1, 2)])
    assert two_things(x, np.array([0, 0, 0, 0, 1]), around(AXES[1], 2, 3)) is None

"""Whether photos that someone wants to enrol show one landmark."""

import numpy as np

from landmark_ray.kernels.enrolment import LEAD, leads_of_others, two_things


def around(centre, count, seed, spread=0.2):
    x = centre + spread * np.random.default_rng(seed).normal(size=(count, len(centre)))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


AXES = np.eye(8, dtype=np.float32)


def nothing(count):
    return np.zeros((count, count), bool)


def test_a_photo_that_resembles_another_landmark_more_does_not_fit():
    x = np.concatenate([around(AXES[0], 4, 1), around(AXES[1], 1, 2)])
    means = np.stack([AXES[1], AXES[2]])
    leads = leads_of_others(x, nothing(5), means)
    assert (leads[:4] < 0).all() and leads[4] > LEAD
    assert (leads_of_others(x, nothing(5), AXES[2:3]) < LEAD).all()


def test_a_lead_is_a_difference_of_cosines():
    x = np.stack([AXES[0], AXES[0], 0.6 * AXES[0] + 0.8 * AXES[1]]).astype(np.float32)
    leads = leads_of_others(x, nothing(3), AXES[1:2])
    assert leads[2] == np.float32(0.8) - np.float32(0.6)


def test_geometry_keeps_a_photo_that_resembles_another_landmark():
    x = np.concatenate([around(AXES[0], 4, 1), around(AXES[1], 1, 2)])
    verified = nothing(5)
    verified[0, 4] = verified[4, 0] = True
    assert leads_of_others(x, verified, AXES[1:2])[4] == -2


def test_two_things_that_resemble_other_landmarks_more_than_each_other():
    x = np.concatenate([around(AXES[0], 4, 1), around(AXES[1], 3, 2)])
    means = np.stack([AXES[0] + AXES[2], AXES[1] + AXES[3]]) / np.float32(2**0.5)
    second = two_things(x, nothing(7), means)
    assert second is not None and len(set(second[:4])) == len(set(second[4:])) == 1


def test_what_geometry_joins_is_one_thing():
    x = np.concatenate([around(AXES[0], 4, 1), around(AXES[1], 3, 2)])
    means = np.stack([AXES[0] + AXES[2], AXES[1] + AXES[3]]) / np.float32(2**0.5)
    verified = nothing(7)
    verified[0, 5] = verified[5, 0] = True
    assert two_things(x, verified, means) is None


def test_two_views_of_one_thing_may_resemble_each_other_little():
    x = np.concatenate(
        [around(AXES[0] + 0.6 * AXES[1], 4, 1), around(AXES[1] + 0.6 * AXES[0], 4, 2)]
    )
    assert two_things(x, nothing(8), around(AXES[5], 3, 4)) is None


def test_single_photos_are_no_things():
    x = np.concatenate([around(AXES[0], 4, 1), around(AXES[1], 1, 2)])
    assert two_things(x, nothing(5), AXES[:2]) is None
    assert two_things(x[[0, 4]], nothing(2), AXES[:2]) is None

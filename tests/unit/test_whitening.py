"""Whitened descriptors, against what numpy's singular values say."""

import numpy as np
import pytest

from landmark_ray.kernels.whitening import (
    fit_learned_whitening,
    fit_whitening,
    unit_length,
    within_landmarks,
)


def descriptors(count=200, length=16, seed=0):
    """Descriptors whose first axes vary most."""
    chance = np.random.default_rng(seed)
    return chance.normal(size=(count, length)) * np.linspace(4, 0.5, length) + 1


def test_axes_are_the_principal_ones_divided_by_the_root_of_their_deviation():
    vectors = descriptors()
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    _, singular, axes = np.linalg.svd(units - units.mean(axis=0), full_matrices=False)
    deviations = singular[:5] / np.sqrt(len(units))
    expected = (units - units.mean(axis=0)) @ (axes[:5].T / np.sqrt(deviations))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    whitened = fit_whitening(vectors, 5)(vectors)
    np.testing.assert_allclose(whitened @ whitened.T, expected @ expected.T, atol=1e-4)


def test_order_and_lengths_of_descriptors_do_not_matter():
    vectors = descriptors()
    shuffled = vectors[::-1] * np.linspace(1, 9, len(vectors))[:, None]
    a, b = (fit_whitening(sample, 8)(vectors) for sample in (vectors, shuffled))
    np.testing.assert_allclose(a @ a.T, b @ b.T, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, atol=1e-5)


def test_only_axes_that_vary_are_kept():
    vectors = np.pad(descriptors(length=4), ((0, 0), (0, 6)))
    assert fit_whitening(vectors).projection.shape == (10, 4)


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (np.ones((5, 3)), "all of 5 descriptors are equal"),
        (np.zeros((5, 3)), "are equal"),
        (np.ones((1, 3)), "two descriptors"),
        (np.full((4, 3), np.nan), "descriptor 0 of 4 has values that are not finite"),
    ],
)
def test_descriptors_that_say_nothing_are_an_error(vectors, says):
    with pytest.raises(ValueError, match=says):
        fit_whitening(vectors)


def test_other_lengths_are_an_error():
    with pytest.raises(ValueError, match=r"descriptors \[N, 16\] needed, got \[2, 3\]"):
        fit_whitening(descriptors())(np.ones((2, 3)))


def test_a_vector_of_zeros_stays_one():
    np.testing.assert_array_equal(unit_length(np.zeros((1, 3))), np.zeros((1, 3)))


def test_learned_whitening_evens_out_what_differs_within_landmarks():
    rng = np.random.default_rng(0)
    landmarks = np.repeat(np.arange(40), 10)
    centres = rng.normal(size=(40, 12)) * np.r_[np.ones(6), np.zeros(6)]
    noise = rng.normal(size=(400, 12)) * np.r_[np.full(6, 0.2), np.full(6, 1.0)]
    x = centres[landmarks] + noise

    def separation(whitening):
        z = whitening(x)
        cosines = z @ z.T
        same = landmarks[:, None] == landmarks
        np.fill_diagonal(same, False)
        return cosines[same].mean() - cosines[landmarks[:, None] != landmarks].mean()

    plain, learned = fit_whitening(x), fit_learned_whitening(x, landmarks)
    assert separation(learned) > 1.5 * separation(plain)
    strangers = np.concatenate([landmarks, np.full(5, -2)])
    assert fit_learned_whitening(np.concatenate([x, x[:5]]), strangers).projection.shape == (12, 12)


def test_landmarks_of_one_photo_give_the_plain_whitening():
    x = np.random.default_rng(0).normal(size=(30, 6))
    learned = fit_learned_whitening(x, np.arange(30))
    assert np.array_equal(learned.projection, fit_whitening(x).projection)


def of_landmarks(count, seed=0, apart=1.0):
    """Ten photos each of landmarks whose photos vary alike, on the first axes most."""
    rng = np.random.default_rng(seed)
    varies = np.linspace(2, 0.1, 12)
    landmarks = np.repeat(np.arange(count), 10)
    x = (
        apart * rng.normal(size=(count, 12))[landmarks]
        + rng.normal(size=(len(landmarks), 12)) * varies
    )
    return x, landmarks, np.diag(varies**2 / (varies**2).sum())


def errors(count, apart):
    """Mean squared errors of the estimate, and of both that it is drawn between."""
    found = []
    for seed in range(20):
        x, landmarks, true = of_landmarks(count, seed, apart)
        whole = np.cov(x.T, bias=True)
        mean = np.mean([np.cov(x[landmarks == i].T, bias=True) for i in range(count)], axis=0)
        sides = mean / np.trace(mean), whole / np.trace(whole)
        estimate = within_landmarks(x, landmarks, whole)
        found.append([((each - true) ** 2).sum() for each in (estimate, *sides)])
    return np.mean(found, axis=0)


def test_few_landmarks_are_drawn_towards_all_photos():
    estimate, mean, _ = errors(8, apart=0.2)
    assert estimate < mean


@pytest.mark.parametrize("count", [30, 300])
def test_many_landmarks_or_far_ones_stand_for_themselves(count):
    estimate, mean, whole = errors(count, apart=1.0)
    assert estimate < 1.1 * mean
    assert mean < whole


def test_landmarks_that_differ_alike_need_no_other_photos():
    x = np.random.default_rng(0).normal(size=(10, 6))
    centres = np.random.default_rng(1).normal(size=(5, 6)) * 9
    landmarks = np.repeat(np.arange(5), 10)
    found = within_landmarks(np.tile(x, (5, 1)) + centres[landmarks], landmarks, np.eye(6))
    wanted = np.cov(x.T)
    np.testing.assert_allclose(found, wanted / np.trace(wanted), atol=1e-9)


def test_covariance_of_one_landmark_is_unknown():
    x, landmarks, _ = of_landmarks(1)
    assert within_landmarks(x, landmarks, np.eye(12)) is None
    assert np.array_equal(
        fit_learned_whitening(x, landmarks).projection, fit_whitening(x).projection
    )


def test_landmarks_that_vary_alike_leave_finite_axes():
    """The mean of their covariances is certain then, and has fewer axes than the photos."""
    centers = np.repeat(np.eye(32)[:10], 2, axis=0)
    x = centers + np.tile(0.1 * np.eye(32)[31:] * [[1], [-1]], (10, 1))
    learned = fit_learned_whitening(x, np.repeat(np.arange(10), 2))
    assert np.isfinite(learned.projection).all()
    np.testing.assert_allclose(np.linalg.norm(learned(x), axis=1), 1, rtol=1e-5)

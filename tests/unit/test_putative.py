import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmark_ray.kernels import integer_matmul
from landmark_ray.kernels.features import UNIT, quantise
from landmark_ray.kernels.integer_matmul import int8_matmul
from landmark_ray.kernels.matching import putative_matches

OFF = {"max_distance": 2, "ratio": 1, "mutual": False}


def at_angles(*degrees):
    """Descriptors in a plane: their distances are easily worked out."""
    radians = np.deg2rad(degrees)
    return quantise(np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32))


def test_each_descriptor_is_matched_with_its_nearest_one():
    matches = putative_matches(at_angles(0, 90, 50), at_angles(80, 10, 45), **OFF)
    assert matches.tolist() == [[0, 1], [1, 0], [2, 2]]
    assert matches.dtype == np.int32


def test_mutual_keeps_only_pairs_nearest_in_both_directions():
    a, b = at_angles(0, 10), at_angles(7, 180)
    assert putative_matches(a, b, **OFF).tolist() == [[0, 0], [1, 0]]
    assert putative_matches(a, b, **OFF | {"mutual": True}).tolist() == [[1, 0]]


def test_mutual_never_uses_a_feature_twice_even_for_ties():
    a, b = at_angles(5, 5, 60), at_angles(5, 60)
    assert putative_matches(a, b, **OFF | {"mutual": True}).tolist() == [[0, 0], [2, 1]]


def test_max_distance_is_the_euclidean_distance():
    a, b = at_angles(0), at_angles(60)  # an equilateral triangle: distance 1
    assert len(putative_matches(a, b, **OFF | {"max_distance": 1.01})) == 1
    assert len(putative_matches(a, b, **OFF | {"max_distance": 0.99})) == 0


def test_ratio_drops_a_match_with_a_second_nearest_almost_as_near():
    a, b = at_angles(0), at_angles(60, 90)  # distances 1 and sqrt(2), ratio 0.707
    assert len(putative_matches(a, b, **OFF | {"ratio": 0.72})) == 1
    assert len(putative_matches(a, b, **OFF | {"ratio": 0.69})) == 0


def test_ratio_one_and_distance_two_keep_every_match():
    a, b = at_angles(0, 180, 33), at_angles(0, 0)
    assert len(putative_matches(a, b, max_distance=2, ratio=1, mutual=False)) == 3


@pytest.mark.parametrize(("n", "m", "expected"), [(0, 0, 0), (0, 3, 0), (3, 0, 0), (1, 1, 1)])
def test_images_with_no_or_one_feature_can_be_matched(n, m, expected):
    a, b = at_angles(*range(n)), at_angles(*range(m))
    matches = putative_matches(
        a.reshape(n, 2), b.reshape(m, 2), max_distance=0.7, ratio=0.8, mutual=True
    )
    assert matches.shape == (expected, 2)
    assert matches.dtype == np.int32


def test_a_thousand_identical_descriptors_give_one_match():
    same = at_angles(*[30] * 1000)
    assert len(putative_matches(same, same, **OFF | {"mutual": True, "ratio": 0.8})) <= 1


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 12), st.integers(1, 12), st.booleans(), st.integers(0, 99))
def test_matches_agree_with_a_plain_loop(n, m, mutual, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(-80, 80, (k, 5)).astype(np.int8) for k in (n, m))
    expected = []
    for i in range(n):
        product = [int(np.dot(a[i].astype(int), row)) for row in b]
        j = int(np.argmax(product))
        square = [min(max(2 * (UNIT**2 - p), 0), 4 * UNIT**2) for p in product]
        second = min((s for k, s in enumerate(square) if k != j), default=np.inf)
        back = [int(np.dot(row.astype(int), b[j])) for row in a]
        nearest = int(np.argmax(back)) == i or not mutual
        if square[j] <= (0.9 * UNIT) ** 2 and square[j] <= 0.8**2 * second and nearest:
            expected.append([i, j])
    got = putative_matches(a, b, max_distance=0.9, ratio=0.8, mutual=mutual)
    assert got.tolist() == expected


# quantise


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 128), st.integers(0, 99))
def test_quantised_distances_are_those_of_the_descriptors(width, seed):
    x = np.random.default_rng(seed).normal(size=(2, width))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    a, b = quantise(x.astype(np.float32)).astype(int)
    distance = np.sqrt(max(2 * (UNIT**2 - a @ b), 0)) / UNIT
    assert distance == pytest.approx(np.linalg.norm(x[0] - x[1]), abs=0.03)


def test_length_is_no_matter_and_zeros_stay_zeros():
    x = np.array([[3, 4], [0.3, 0.4], [0, 0]], np.float32)
    assert quantise(x).tolist() == [[76, 102], [76, 102], [0, 0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_descriptors_that_are_not_finite_are_refused(bad):
    x = np.ones((3, 4), np.float32)
    x[1, 2] = bad
    with pytest.raises(ValueError, match="descriptors must be finite.* NaN or infinity"):
        quantise(x)


# products


@pytest.mark.parametrize("signed", [True, False])
def test_products_are_exact_for_extreme_numbers(signed):
    rng = np.random.default_rng(0)
    a, b = (rng.choice(np.array([-128, -127, 0, 1, 127], np.int8), (n, 128)) for n in (70, 90))
    a[0], b[0], b[1] = 127, 127, -128
    wanted = a.astype(int) @ b.T.astype(int)
    if signed:
        got = int8_matmul(a, b)
    else:  # what processors that saturate use
        session = integer_matmul._session(signed=False)
        got = session.run(None, {"a": integer_matmul._shifted(a), "b": integer_matmul._shifted(b)})[
            0
        ]
    assert got.dtype == np.int32
    assert (got == wanted).all()


def test_products_of_a_slice_and_of_nothing():
    a = np.arange(60, dtype=np.int8).reshape(6, 10)[::2, ::2]
    assert (int8_matmul(a, a) == a.astype(int) @ a.T.astype(int)).all()
    assert int8_matmul(a[:0], a).shape == (0, 3)

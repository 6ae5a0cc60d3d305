import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmark_ray.kernels import integer_matmul
from landmark_ray.kernels.features import UNIT, quantise
from landmark_ray.kernels.integer_matmul import product_blocks
from landmark_ray.kernels.putative import putative_matches

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


def by_whole_product(a, b, *, max_distance, ratio, mutual):
    """The matches by all products at once."""
    product = a.astype(int) @ b.T.astype(int)
    rows, nearest = np.arange(len(a)), product.argmax(1)
    largest = product[rows, nearest]

    def square(p):
        return np.clip(2 * (UNIT**2 - p), 0, 4 * UNIT**2)

    keep = square(largest) <= max_distance**2 * UNIT**2
    if mutual:
        keep &= largest == product.max(0)[nearest]
    if ratio < 1 and len(b) > 1:
        product[rows, nearest] = -(2**40)
        keep &= square(largest) <= ratio**2 * square(product.max(1))
    matches = np.stack([rows, nearest], 1)[keep]
    if mutual:
        matches = matches[np.sort(np.unique(matches[:, 1], return_index=True)[1])]
    return matches.tolist()


@pytest.mark.parametrize("block", [1, 50, 1 << 18])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 2), (2, 1), (7, 1), (64, 65), (97, 33), (30, 99)])
@pytest.mark.parametrize("width", [1, 2, 40, 64, 128])
def test_matches_by_blocks_are_those_by_all_products(block, n, m, width, monkeypatch):
    monkeypatch.setattr(integer_matmul, "BLOCK", block)
    rng = np.random.default_rng(n + m + width)
    some = quantise(rng.normal(size=(25, width)).astype(np.float32))
    near = np.clip(some[rng.integers(0, 25, n)] + rng.integers(-2, 3, (n, width)), -128, 127)
    pairs = [
        (some[rng.integers(0, 25, n)], some[rng.integers(0, 25, m)]),  # many ties
        (near.astype(np.int8), some[rng.integers(0, 25, m)]),
        tuple(rng.integers(-128, 128, (k, width)).astype(np.int8) for k in (n, m)),  # any length
        tuple(rng.integers(-1, 2, (k, width)).astype(np.int8) for k in (n, m)),
    ]
    for a, b in pairs:
        for ratio in (1, 0.95, 0.6):
            for max_distance in (2, 0.7):
                for mutual in (False, True):
                    rule = {"max_distance": max_distance, "ratio": ratio, "mutual": mutual}
                    assert putative_matches(a, b, **rule).tolist() == by_whole_product(a, b, **rule)


def test_a_thousand_features_are_matched_in_several_blocks_as_at_once():
    rng = np.random.default_rng(0)
    b = quantise(rng.normal(size=(1003, 64)).astype(np.float32))
    a = np.clip(b[rng.integers(0, 1003, 1010)] + rng.integers(-9, 10, (1010, 64)), -128, 127)
    a = a.astype(np.int8)
    assert len(list(product_blocks(a, b))) > 3
    rule = {"max_distance": 0.8, "ratio": 0.9, "mutual": True}
    got = putative_matches(a, b, **rule)
    assert got.tolist() == by_whole_product(a, b, **rule) and len(got) > 300


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


def products_of(a, b):
    """All products, from the blocks."""
    whole = np.zeros((len(a), len(b)), np.int32)
    for start, products in product_blocks(a, b):
        whole[start : start + len(products)] = products
    return whole


@pytest.mark.parametrize("signed", [True, False])
def test_products_are_exact_for_extreme_numbers(signed):
    rng = np.random.default_rng(0)
    a, b = (rng.choice(np.array([-128, -127, 0, 1, 127], np.int8), (n, 128)) for n in (70, 90))
    a[0], b[0], b[1] = 127, 127, -128
    wanted = a.astype(int) @ b.T.astype(int)
    if signed:
        got = products_of(a, b)
    else:  # what processors that saturate use
        session = integer_matmul._session(signed=False)
        a, columns = integer_matmul._shifted(a), integer_matmul._shifted(b).T.copy()
        got = session.run(None, {"a": a, "b": columns})[0]
    assert got.dtype == np.int32
    assert (got == wanted).all()


@pytest.mark.parametrize("block", [1, 12, 13, 100])
def test_blocks_are_alike_and_cover_all_products(block, monkeypatch):
    monkeypatch.setattr(integer_matmul, "BLOCK", block)
    a = np.arange(-100, 110, dtype=np.int8).reshape(21, 10)[::2, ::2]  # not contiguous
    shapes = {products.shape for _, products in product_blocks(a, a[:6])}
    assert len(shapes) == 1 and max(block, 6) >= np.prod(shapes.pop())
    assert (products_of(a, a[:6]) == a.astype(int) @ a[:6].T.astype(int)).all()

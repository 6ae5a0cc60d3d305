"""The nearest neighbours within a set of vectors, by every pair and by lists."""

import numpy as np
import pytest

from landmark_ray.kernels.neighbours import build_lists, nearest_others


def vectors(count, length=16, centres=12, seed=0):
    rng = np.random.default_rng(seed)
    near = rng.normal(size=(centres, length))[rng.integers(centres, size=count)]
    made = near + 0.3 * rng.normal(size=(count, length))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)


def neighbours(x, lists, k, most=1000):
    found = np.full((len(x), k), -2)
    for chosen in lists.ranges(most):
        found[lists.order[chosen[1] : chosen[2]]] = nearest_others(x, lists, chosen, k)
    return found


def by_every_pair(x, k):
    cosines = x.astype(np.float64) @ x.astype(np.float64).T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_a_small_set_is_searched_exactly(most):
    x = vectors(300)
    assert (neighbours(x, build_lists(x), 5, most) == by_every_pair(x, 5)).all()


def test_equal_vectors_come_in_the_order_of_their_rows():
    x = np.repeat(vectors(3, centres=3), 20, axis=0)
    found = neighbours(x, build_lists(x), 4)
    assert found[0].tolist() == [1, 2, 3, 4]
    assert found[2].tolist() == [0, 1, 3, 4]
    assert found[59].tolist() == [40, 41, 42, 43]


def test_where_there_are_fewer_others_than_neighbours_the_rest_is_missing():
    x = vectors(3)
    assert (np.sort(neighbours(x, build_lists(x), 4)) >= 0).sum(axis=1).tolist() == [2, 2, 2]
    assert (neighbours(vectors(1), build_lists(vectors(1)), 2) == -1).all()


def test_lists_hold_each_vector_once_and_probe_themselves_first():
    x = vectors(3000)
    lists = build_lists(x, exact_up_to=100, probes=4)
    assert np.sort(lists.order).tolist() == list(range(3000))
    assert lists.probes[:, 0].tolist() == list(range(len(lists.probes)))
    assert lists.probes.shape == (256, 4)


def test_lists_find_nearly_all_neighbours():
    x = vectors(3000)
    found = neighbours(x, build_lists(x, exact_up_to=100), 5)
    wanted = by_every_pair(x, 5)
    hits = [len({*a} & {*b}) for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]
    assert np.mean(hits) / 5 > 0.95


def test_all_lists_together_find_every_neighbour():
    x = vectors(800)
    found = neighbours(x, build_lists(x, exact_up_to=100, probes=1000), 5)
    assert (found == by_every_pair(x, 5)).all()

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmark_ray.kernels import splitting

EDGES = (6, 11, 16, 21, 26, 31, 41, 51, 61, 76, 100)


@pytest.mark.parametrize(
    ("size", "group"),
    [
        (5, 0),
        (6, 1),
        (10, 1),
        (11, 2),
        (15, 2),
        (16, 3),
        (20, 3),
        (21, 4),
        (25, 4),
        (26, 5),
        (30, 5),
        (31, 6),
        (40, 6),
        (41, 7),
        (50, 7),
        (51, 8),
        (60, 8),
        (61, 9),
        (75, 9),
        (76, 10),
        (99, 10),
        (100, 11),
        (400, 11),
    ],
)
def test_group_follows_the_class_size(size, group):
    assert splitting.group_of(np.array([size]), EDGES)[0] == group


def test_validation_share_falls_evenly_from_first_to_last_group():
    shares = [splitting.validation_share(g, 11, 0.4, 0.2) for g in range(1, 12)]
    assert shares[0] == 0.4 and shares[5] == pytest.approx(0.3) and shares[10] == pytest.approx(0.2)
    assert splitting.validation_share(1, 1, 0.4, 0.2) == 0.4


def test_what_only_trains_never_validates():
    cluster = np.array([0, splitting.TRAINS, 2, splitting.TRAINS, 4, 5, 6, 7, 8, 9])
    rank = np.array([9, 0, 8, 1, 7, 6, 5, 4, 3, 2], np.uint64)
    side = splitting.split_class(rank, cluster, 0.4)
    assert side.sum() == 4 and not side[cluster == splitting.TRAINS].any()


def test_ten_single_images_give_four_for_validation():
    rank = np.arange(10, dtype=np.uint64)[::-1].copy()
    side = splitting.split_class(rank, np.arange(10), 0.4)
    assert np.flatnonzero(side).tolist() == [6, 7, 8, 9]


def test_class_of_one_cluster_only_trains():
    assert not splitting.split_class(np.arange(8, dtype=np.uint64), np.zeros(8, int), 0.4).any()


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.floats(0.2, 0.4))
def test_cluster_is_never_divided_and_the_share_never_passed(clusters, share):
    first = {c: i for i, c in reversed(list(enumerate(clusters)))}
    cluster = np.array([first[c] for c in clusters])
    rank = np.random.default_rng(len(clusters)).permutation(len(clusters)).astype(np.uint64)
    side = splitting.split_class(rank, cluster, share)
    for name in np.unique(cluster):
        assert len(set(side[cluster == name].tolist())) == 1
    assert side.sum() <= int(share * len(clusters) + 0.5)

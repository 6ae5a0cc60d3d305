"""What matching refuses: rules out of range, and features that can't be."""

import numpy as np
import pytest

from landmark_ray.kernels.features import UNIT, Features, ImageFeatures
from landmark_ray.kernels.matching import MatchingRule, pair_seed


def scatter(n, seed=0, side=512):
    return np.random.default_rng(seed).uniform(0, side, (n, 2)).astype(np.float32)


def one_each(n):
    """n descriptors, each unlike all others."""
    return (UNIT * np.eye(n)).astype(np.int8)


# Rule, Features


@pytest.mark.parametrize(
    "wrong",
    [
        {"ratio": 0},
        {"ratio": 1.1},
        {"max_distance": 3},
        {"residual": 0},
        {"cell": -1},
        {"share": 1.1},
        {"trials": 0},
    ],
)
def test_a_rule_out_of_range_is_refused_by_name(wrong):
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=f"{name} .* got {value}"):
        MatchingRule.sift().replace(**wrong)


def test_a_rule_is_replaced_and_listed_by_name():
    rule = MatchingRule.delf().replace(residual=20.0)
    assert rule.as_dict()["residual"] == 20.0
    assert MatchingRule(**rule.as_dict()) == rule


@pytest.mark.parametrize(
    ("points", "descriptors"), [((3, 2), (2, 8)), ((3, 3), (3, 8)), ((0,), (0,))]
)
def test_features_that_do_not_belong_together_are_refused(points, descriptors):
    with pytest.raises(ValueError, match="keypoints"):
        Features(np.zeros(points, np.float32), np.zeros(descriptors, np.int8))


def test_an_image_without_extent_is_refused():
    with pytest.raises(ValueError, match="longest_side"):
        ImageFeatures(np.zeros((0, 2), np.float32), np.zeros((0, 8), np.int8), 0)


def test_descriptors_that_are_not_quantised_are_refused():
    with pytest.raises(ValueError, match="int8.* got float32"):
        ImageFeatures(scatter(3), np.eye(3, dtype=np.float32), 512)


def test_keypoints_that_are_not_finite_are_refused():
    points = scatter(3)
    points[1, 0] = np.nan
    with pytest.raises(ValueError, match="keypoints must be finite"):
        ImageFeatures(points, one_each(3), 512)


# pair_seed


def test_a_pairs_seed_depends_on_its_ids_and_the_runs_seed_only():
    seeds = {pair_seed(a, b, s) for a in "ab" for b in "cd" for s in (0, 1)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert pair_seed("a", "b") == pair_seed("a", "b", 0)

import numpy as np
import pytest

from landmark_ray.kernels.features import UNIT, ImageFeatures
from landmark_ray.kernels.inliers import verify
from landmark_ray.kernels.matching import MatchingRule, consistent_mask, match_pair

TURN_AND_ZOOM = np.array([[1.2, -0.3, 20.0], [0.4, 1.1, -15.0]])


def scatter(n, seed=0, side=512):
    return np.random.default_rng(seed).uniform(0, side, (n, 2)).astype(np.float32)


def one_each(n):
    """n descriptors, each unlike all others."""
    return (UNIT * np.eye(n)).astype(np.int8)


def moved(points, affine):
    return (points @ affine[:, :2].T + affine[:, 2]).astype(np.float32)


def pair_of_images(affine, n=40, side_a=512.0, side_b=512.0):
    """Two images with n features each that correspond one to one."""
    points, descriptors = scatter(n, side=side_a), one_each(n)
    return (
        ImageFeatures(points, descriptors, side_a),
        ImageFeatures(moved(points, affine), descriptors, side_b),
    )


# verify


def test_a_known_affine_is_found_among_outliers():
    points = scatter(100)
    target = moved(points, TURN_AND_ZOOM)
    target[60:] = scatter(40, seed=1)
    affine, inlier = verify(points, target, residual_px=3, trials=1000, seed=0)
    assert inlier[:60].all()
    assert inlier[60:].sum() <= 2  # an outlier may fall in place by chance
    np.testing.assert_allclose(affine, TURN_AND_ZOOM, atol=0.05)


def test_inliers_are_the_matches_within_the_residual():
    points = scatter(60)
    noise = np.random.default_rng(2).uniform(-6, 6, points.shape)
    target = (moved(points, TURN_AND_ZOOM) + noise).astype(np.float32)
    affine, inlier = verify(points, target, residual_px=5, trials=1000, seed=0)
    error = np.linalg.norm(moved(points, affine) - target, axis=1)
    assert (inlier == (error <= 5)).all()
    assert 0 < inlier.sum() < 60


@pytest.mark.parametrize("k", [0, 1, 2])
def test_fewer_than_three_matches_give_no_affine(k):
    found, inlier = verify(scatter(k), scatter(k), residual_px=8, trials=10, seed=0)
    assert found is None
    assert inlier.shape == (k,) and not inlier.any()


@pytest.mark.parametrize("k", [3, 11, 40])
def test_points_on_a_line_or_in_one_place_give_no_affine(k):
    line = np.stack([np.arange(k), 2 * np.arange(k)], 1).astype(np.float32)
    for points in (line, np.full((k, 2), 7, np.float32)):
        for target in (points, scatter(k)):
            found, inlier = verify(points, target, residual_px=8, trials=100, seed=0)
            assert found is None
            assert inlier.shape == (k,) and not inlier.any()


def test_equal_seed_gives_an_equal_result_whatever_came_before():
    points, target = scatter(80), scatter(80, seed=5)
    target[:20] = moved(points[:20], TURN_AND_ZOOM)
    options = {"residual_px": 12, "trials": 200, "seed": 3}
    first = verify(points, target, **options)
    verify(target, points, residual_px=8, trials=50, seed=9)
    second = verify(points, target, **options)
    assert first[0].tobytes() == second[0].tobytes()
    assert (first[1] == second[1]).all()


# agreeing


def turned(keypoints, degrees, zoom):
    """Keypoints as in a photo that is turned and enlarged; places don't matter here."""
    return (keypoints * [1, 1, zoom, 1] + [0, 0, 0, degrees]).astype(np.float32)


def oriented(n, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [scatter(n), rng.uniform(3, 60, n), rng.uniform(0, 360, n)],
    ).astype(np.float32)


@pytest.mark.parametrize("degrees", [0, 45, 180, 359])
@pytest.mark.parametrize("zoom", [1.0, 0.3, 2.5])
def test_matches_that_turn_and_zoom_alike_agree_and_others_do_not(degrees, zoom):
    a = oriented(40)
    b = turned(a, degrees, zoom)
    b[20:30] = turned(a[20:30], degrees + 90, zoom)
    b[30:] = turned(a[30:], degrees, 5 * zoom)
    assert consistent_mask(a, b).tolist() == [True] * 20 + [False] * 20


def test_matches_may_differ_a_little_in_turn_and_zoom():
    a = oriented(60)
    rng = np.random.default_rng(1)
    b = a * np.array([1, 1, 1.6, 1]) + [0, 0, 0, 75]
    b[:, 3] = (b[:, 3] + rng.uniform(-12, 12, 60)) % 360
    b[:, 2] *= rng.uniform(0.8, 1.25, 60)
    assert consistent_mask(a, b.astype(np.float32)).all()


def test_chance_matches_rarely_agree():
    kept = [
        consistent_mask(oriented(120, 2 * i), oriented(120, 2 * i + 1)).mean() for i in range(20)
    ]
    assert np.mean(kept) < 0.25


def test_a_rule_that_votes_leaves_out_what_disagrees():
    a, b = pair_of_images(TURN_AND_ZOOM)
    shape = oriented(40)[:, 2:]
    a = ImageFeatures(np.hstack([a.keypoints, shape]), a.descriptors, 512)
    shape = turned(oriented(40), 19, 1.2)[:, 2:]
    shape[30:, 1] += 90
    b = ImageFeatures(np.hstack([b.keypoints, shape]), b.descriptors, 512)
    assert match_pair(a, b, MatchingRule(cell=0, vote=True), stop_below=11).putative == 30
    assert match_pair(a, b, MatchingRule(cell=0), stop_below=11).inliers == 40


# match_pair


def test_match_pair_counts_inliers_and_maps_a_to_b():
    a, b = pair_of_images(TURN_AND_ZOOM)
    result = match_pair(a, b, MatchingRule(cell=0), stop_below=11)
    assert (result.putative, result.inliers) == (40, 40)
    np.testing.assert_allclose(result.affine, TURN_AND_ZOOM, atol=0.01)


def test_match_pair_says_which_matches_the_affine_map_explains():
    a, b = pair_of_images(TURN_AND_ZOOM, side_a=640.0)
    astray = b.keypoints.copy()
    astray[30:] = scatter(10, seed=1)
    b = ImageFeatures(astray, b.descriptors, 512)
    result = match_pair(a, b, MatchingRule(residual=3, cell=0), stop_below=11)
    assert (result.matches == np.arange(40)[:, None]).all()
    assert result.inlier_mask[:30].all() and result.inliers == result.inlier_mask.sum() < 33
    mapped = moved(a.keypoints, result.affine) - b.keypoints
    assert np.abs(mapped[result.inlier_mask]).max() < 3 and result.affine.shape == (2, 3)


@pytest.mark.parametrize("noise", [40, 200])
def test_eleven_true_matches_are_found_among_many_false_ones(noise):
    found = 0
    for seed in range(50):
        a, b = pair_of_images(TURN_AND_ZOOM, n=11 + noise)
        points = b.keypoints.copy()
        points[11:] = scatter(noise, seed=seed + 1)
        b = ImageFeatures(points, b.descriptors, 512)
        rule = MatchingRule(residual=3, trials=1_000_000)
        found += match_pair(a, b, rule, stop_below=11, seed=seed).inliers >= 11
    assert found == 50


@pytest.mark.parametrize(
    "linear",
    [
        [[-1, 0], [0, 1]],  # mirrored
        [[1, 0], [0, 0.2]],  # squeezed five times in one direction
        [[6, 0], [0, 6]],  # zoomed in six times
        [[0.1, 0], [0, 0.1]],  # zoomed out ten times
    ],
)
def test_affines_that_no_view_of_a_building_gives_do_not_count(linear):
    a, b = pair_of_images(np.array([[*linear[0], 300], [*linear[1], 300]]))
    rule = MatchingRule(cell=0, residual=3)
    result = match_pair(a, b, rule, stop_below=11)
    assert (result.putative, result.inliers, result.affine) == (40, 0, None)
    assert not result.inlier_mask.any()
    assert match_pair(a, b, rule.replace(plausible=False), stop_below=11).inliers == 40


def test_thresholds_scale_with_the_image():
    """One image at a fifth and one at 4 times 512 px: a zoom of 20 in pixels, of 1 in content."""
    zoom = np.array([[20.0, 0, 7], [0, 20.0, -9]])
    a, b = pair_of_images(zoom, side_a=102.4, side_b=2048.0)
    assert match_pair(a, b, MatchingRule(residual=1, cell=0), stop_below=11).inliers == 40
    shaken = b.keypoints + np.tile([[12, 0], [-12, 0]], (20, 1)).astype(np.float32)
    b = ImageFeatures(shaken, b.descriptors, 2048.0)  # 12 px of 2048 are 3 px of 512
    assert match_pair(a, b, MatchingRule(residual=1, cell=0), stop_below=11).inliers < 30
    result = match_pair(a, b, MatchingRule(residual=8, cell=0), stop_below=11)
    assert result.inliers == 40
    np.testing.assert_allclose(result.affine[:, :2], zoom[:, :2], atol=1)


def test_matches_in_one_spot_count_once():
    """29 places, and 11 more matches on top of the first."""
    a, b = pair_of_images(np.eye(2, 3))
    points = np.stack([np.arange(40) % 6, np.arange(40) // 6], 1).astype(np.float32) * 20 + 2
    points[29:] = points[0] + np.linspace(0, 1, 11)[:, None]
    a, b = (ImageFeatures(points, x.descriptors, 512) for x in (a, b))
    assert match_pair(a, b, MatchingRule(cell=0), stop_below=11).inliers == 40
    assert match_pair(a, b, MatchingRule(cell=4), stop_below=11).inliers == 29


def test_eleven_matches_on_one_spot_do_not_verify_a_pair():
    spot = 100 + scatter(11, side=2)
    images = [ImageFeatures(spot, one_each(11), 512) for _ in range(2)]
    assert match_pair(*images, MatchingRule(cell=4), stop_below=11).inliers <= 1


def test_many_features_of_one_image_on_one_of_the_other_count_once():
    a, b = pair_of_images(np.eye(2, 3))
    b = ImageFeatures(np.full_like(b.keypoints, 50), b.descriptors, 512)
    assert match_pair(a, b, MatchingRule(residual=200), stop_below=11).inliers <= 1


def test_inliers_that_are_too_small_a_share_of_the_matches_do_not_count():
    a, b = pair_of_images(TURN_AND_ZOOM, n=100)
    points = b.keypoints.copy()
    points[20:] = scatter(80, seed=1)
    b = ImageFeatures(points, b.descriptors, 512)
    rule = MatchingRule(cell=0, residual=2)
    assert match_pair(a, b, rule.replace(share=0.15), stop_below=11).inliers >= 20
    refused = match_pair(a, b, rule.replace(share=0.3), stop_below=11)
    assert (refused.putative, refused.inliers, refused.affine) == (100, 0, None)


def test_ransac_is_skipped_for_too_few_putative_matches():
    a, b = pair_of_images(TURN_AND_ZOOM, n=10)
    result = match_pair(a, b, MatchingRule(cell=0), stop_below=11)
    assert (result.putative, result.inliers, result.affine) == (10, 0, None)
    assert match_pair(a, b, MatchingRule(cell=0), stop_below=10).inliers == 10


@pytest.mark.parametrize("stop_below", [0, 11])
def test_an_image_without_features_matches_nothing(stop_below):
    none = ImageFeatures(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.int8), 512)
    result = match_pair(none, none, MatchingRule.sift(), stop_below=stop_below)
    assert (result.putative, result.inliers, result.affine) == (0, 0, None)

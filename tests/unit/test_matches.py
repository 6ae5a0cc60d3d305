import numpy as np
import pytest

from landmark_ray.kernels.features import ImageFeatures
from landmark_ray.kernels.matching import Rule, match_pair
from landmark_ray.reports.matches import draw, explain

RULE = Rule(ratio=1.0, max_distance=2.0)


def picture(points_a, points_b, inlier, *, a=(300, 400), b=(400, 200), caption="x", **options):
    """Of two plain grey images [H, W]."""
    images = (np.full((*size, 3), 128, np.uint8) for size in (a, b))
    points = (np.asarray(p, np.float32).reshape(-1, 2) for p in (points_a, points_b))
    return np.asarray(draw(*images, *points, np.asarray(inlier, bool), caption, **options))


def colourful(pixels: np.ndarray) -> np.ndarray:
    """[K, 2] (x, y) of all that is no shade of grey."""
    spread = np.ptp(pixels.astype(int), axis=2)
    return np.argwhere(spread > 60)[:, ::-1]


def test_line_goes_from_the_point_on_the_left_to_the_one_on_the_right():
    # longest sides of 400 px become 400; photos lie beside each other with gaps of 12, centred
    drawn = colourful(picture([[100, 150]], [[50, 20]], [True], side=400))
    grey = picture([], [], [], side=400)
    photo = np.argwhere((grey == 128).all(2))[:, ::-1]
    left, right = photo[photo[:, 0] < 412], photo[photo[:, 0] >= 424]
    start, end = drawn[drawn[:, 0].argmin()], drawn[drawn[:, 0].argmax()]
    assert np.abs(start - (left.min(0) + (100, 150))).max() <= 4
    assert np.abs(end - (right.min(0) + (50, 20))).max() <= 4


def test_matches_that_are_no_inliers_are_faint_or_left_out():
    points = [[[50, 50], [80, 200]], [[150, 300], [40, 40]]]
    both = picture(*points, [False, False])
    without = picture(*points, [False, False], others=False)
    assert not len(colourful(both))
    assert (both != without).any()
    assert np.array_equal(without, picture([], [], []))


def test_photos_of_any_shape_and_any_caption_fit():
    narrow = picture([], [], [], a=(600, 60), b=(900, 60), caption="long name " * 20 + "\n$x$_$")
    assert narrow.shape[1] < 200 and narrow.shape[0] > 600
    assert picture([], [], [], a=(1, 1), b=(1, 900)).ndim == 3


def pair(rng: np.random.Generator) -> tuple[ImageFeatures, ImageFeatures]:
    """60 features; 40 of them are turned and moved in the second image, 20 lie anywhere."""
    descriptors = rng.normal(size=(60, 32)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    a = rng.uniform(0, 400, (60, 2)).astype(np.float32)
    b = a @ np.float32([[0.9, 0.2], [-0.2, 0.9]]) + 30
    b[40:] = rng.uniform(0, 400, (20, 2))
    return ImageFeatures(a, descriptors, 500), ImageFeatures(b, descriptors, 400)


@pytest.mark.parametrize("seed", [0, 5])
def test_explained_pair_has_the_result_of_match_pair_and_its_matches(seed):
    a, b = pair(np.random.default_rng(seed))
    found = explain(a, b, RULE, stop_below=11, seed=seed)
    wanted = match_pair(a, b, RULE, stop_below=11, seed=seed)
    assert (found.result.putative, found.result.inliers) == (wanted.putative, wanted.inliers)
    assert np.array_equal(found.points_a, a.keypoints) and len(found.points_b) == 60
    assert found.inlier[:40].all() and found.inlier.sum() < 45
    assert found.result.inliers <= found.inlier.sum()
    mapped = found.points_a @ found.result.affine[:, :2].T + found.result.affine[:, 2]
    assert np.abs(mapped - found.points_b)[found.inlier].max() < 12


def test_pair_with_too_few_matches_has_no_inliers():
    a, b = pair(np.random.default_rng(1))
    found = explain(a, b, RULE, stop_below=61)
    assert found.result.inliers == 0 and not found.inlier.any() and len(found.inlier) == 60


def test_images_without_features_have_no_matches():
    empty = ImageFeatures(np.zeros((0, 2), np.float32), np.zeros((0, 0), np.float32), 100)
    found = explain(empty, empty, RULE, stop_below=11)
    assert found.result.inliers == 0 and found.points_a.shape == (0, 2)

import numpy as np

from landmark_ray.reports.match_drawing import draw


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

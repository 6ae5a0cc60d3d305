import cv2
import numpy as np
import pytest

from landmark_ray.kernels.features import UNIT, map_keypoints, resize_to_side
from landmark_ray.kernels.sift import extract_sift, root_sift


def blobs(height=300, width=400, n=150, seed=0):
    """A grey photo-like image of soft discs, in RGB."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128, np.uint8)
    for _ in range(n):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        colour = [int(c) for c in rng.integers(0, 256, 3)]
        cv2.circle(image, centre, int(rng.integers(3, 15)), colour, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), 1)


def disc(height, width, x, y, radius):
    image = np.zeros((height, width, 3), np.uint8)
    cv2.circle(image, (x, y), radius, (255, 255, 255), -1, cv2.LINE_AA)
    return image


def test_features_have_the_promised_shapes_and_types():
    image = blobs()
    keypoints, descriptors = extract_sift(image, max_features=1000, side=512)
    assert keypoints.shape == (len(keypoints), 4) and keypoints.dtype == np.float32
    assert descriptors.shape == (len(keypoints), 128) and descriptors.dtype == np.uint8
    assert len(keypoints) > 100
    assert (keypoints >= 0).all() and (keypoints < [400, 300, 300, 360]).all()


@pytest.mark.parametrize("limit", [1, 17, 50])
def test_never_more_than_max_features(limit):
    keypoints, descriptors = extract_sift(blobs(), max_features=limit, side=512)
    assert len(keypoints) == len(descriptors) == limit


def test_fewer_features_are_the_strongest_of_more():
    many = extract_sift(blobs(), max_features=200, side=512)
    few = extract_sift(blobs(), max_features=50, side=512)
    np.testing.assert_array_equal(few[0], many[0][:50])
    np.testing.assert_array_equal(few[1], many[1][:50])


@pytest.mark.parametrize("side", [200, 400, 800])
def test_keypoints_are_in_pixels_of_the_image_given(side):
    """A disc's centre is a keypoint, wherever the search is made."""
    keypoints, _ = extract_sift(disc(300, 400, 130, 60, 12), max_features=100, side=side)
    assert np.linalg.norm(keypoints[:, :2] - [130, 60], axis=1).min() < 1.5
    nearest = np.linalg.norm(keypoints[:, :2] - [130, 60], axis=1).argmin()
    assert keypoints[nearest, 2] == pytest.approx(2 * 12, rel=0.5)  # of the disc, in pixels


def test_descriptors_are_opencvs_own():
    image = blobs(256, 256)
    _, descriptors = extract_sift(image, max_features=10_000, side=256)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    _, expected = cv2.SIFT.create().detectAndCompute(grey, None)
    assert sorted(map(bytes, descriptors)) == sorted(map(bytes, expected.astype(np.uint8)))
    assert (expected == expected.astype(np.uint8)).all()


def test_equal_images_give_equal_features_on_any_number_of_threads():
    before = cv2.getNumThreads()
    results = []
    try:
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            results.append(extract_sift(blobs(), max_features=300, side=512))
    finally:
        cv2.setNumThreads(before)
    for one, two in zip(*results, strict=True):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 1, 3), (1, 40, 3), (2, 900, 3), (300, 200, 3)])
def test_an_image_of_one_colour_has_no_features(shape):
    keypoints, descriptors = extract_sift(np.full(shape, 90, np.uint8), max_features=9, side=512)
    assert keypoints.shape == (0, 4) and keypoints.dtype == np.float32
    assert descriptors.shape == (0, 128) and descriptors.dtype == np.uint8


def test_a_tiny_image_is_searched_without_complaint():
    keypoints, descriptors = extract_sift(blobs(32, 32, 8), max_features=100, side=640)
    assert len(keypoints) == len(descriptors)
    assert (keypoints[:, :2] > -1).all() and (keypoints[:, :2] < 32).all()


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))]
)
def test_an_image_that_is_not_rgb_is_refused(image):
    with pytest.raises(ValueError, match="image must be"):
        extract_sift(image, max_features=9, side=64)


@pytest.mark.parametrize(
    "options", [{"max_features": 0, "side": 9}, {"max_features": 9, "side": 0}]
)
def test_options_below_one_are_refused(options):
    with pytest.raises(ValueError, match="at least 1"):
        extract_sift(blobs(), **options)


def test_root_sift_is_the_root_of_each_share():
    descriptors = np.zeros((2, 128), np.uint8)
    descriptors[0, :2] = 64, 192  # shares 1/4 and 3/4
    descriptors[1, :4] = 255
    rooted = root_sift(descriptors)
    assert rooted[0, :3].tolist() == [64, 110, 0]  # 127 times 1/2 and sqrt(3)/2
    assert rooted[1, :5].tolist() == [64, 64, 64, 64, 0]
    assert rooted.dtype == np.int8


def test_root_sift_gives_equal_lengths():
    _, descriptors = extract_sift(blobs(), max_features=200, side=512)
    length = np.linalg.norm(root_sift(descriptors).astype(float), axis=1)
    np.testing.assert_allclose(length, UNIT, rtol=0.02)


def test_root_sift_of_nothing_and_of_zeros_is_finite():
    assert root_sift(np.zeros((0, 128), np.uint8)).shape == (0, 128)
    assert (root_sift(np.zeros((1, 128), np.uint8)) == 0).all()


@pytest.mark.parametrize(
    ("shape", "side", "expected"),
    [((300, 400, 3), 200, (150, 200, 3)), ((100, 50), 640, (640, 320)), ((1, 900), 90, (1, 90))],
)
def test_resizing_keeps_the_proportions(shape, side, expected):
    assert resize_to_side(np.zeros(shape, np.uint8), side).shape == expected


def test_corners_of_a_resized_image_are_corners_of_the_original():
    corners = np.array([[-0.5, -0.5], [199.5, 99.5]], np.float32)  # the outer edges of the pixels
    mapped = map_keypoints(corners, (100, 200), (300, 400))
    assert mapped.tolist() == [[-0.5, -0.5], [399.5, 299.5]]

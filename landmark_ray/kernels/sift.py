"""SIFT features (Lowe 2004) with OpenCV, and RootSIFT (Arandjelovic and Zisserman 2012)."""

import cv2
import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.features import ImageFeatures, map_keypoints, quantise, resize_to_side

DIMENSIONS = 128


def extract_sift(
    image: NDArray[np.uint8], *, max_features: int, side: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Extract the strongest SIFT features of an image, the strongest first.

    Args:
        image: [H, W, 3] uint8 RGB.
        max_features: Largest number of features, at least 1.
        side: Longest side to which the image is resized before the search, in pixels.

    Returns:
        Keypoints [N, 4] float32 (x, y, diameter, angle) in pixels of `image` and degrees, and
        descriptors [N, 128] uint8 as OpenCV computes them. N is 0 for an image without features.
        Equally strong features are in the order of their positions, so equal images give equal
        arrays.

    Raises:
        ValueError: An option is out of its range, or the image is not [H, W, 3] uint8.
    """
    if max_features < 1 or side < 1:
        raise ValueError(f"max_features and side must be at least 1, got {max_features} and {side}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be [H, W, 3] uint8, got {image.shape} {image.dtype}")
    grey = resize_to_side(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8), side)
    sift = cv2.SIFT.create(max_features, 3, 0.04, 10, 1.6, cv2.CV_8U)
    points, descriptors = sift.detectAndCompute(grey, None)
    if not points:
        return np.zeros((0, 4), np.float32), np.zeros((0, DIMENSIONS), np.uint8)
    rows = np.array([(-k.response, *k.pt, k.size, k.angle) for k in points])
    order = np.lexsort(rows.T[::-1])[:max_features]  # OpenCV keeps ties beyond the limit
    keypoints = rows[order, 1:].astype(np.float32)
    keypoints[:, :2] = map_keypoints(keypoints[:, :2], grey.shape, image.shape)
    keypoints[:, 2] *= image.shape[1] / grey.shape[1]
    return keypoints, np.asarray(descriptors, np.uint8)[order]


def sift_features(image: NDArray[np.uint8], *, max_features: int, side: int) -> ImageFeatures:
    """Extract RootSIFT features of an image [H, W, 3]; see `extract_sift`."""
    points, descriptors = extract_sift(image, max_features=max_features, side=side)
    return ImageFeatures(points, root_sift(descriptors), max(image.shape[:2]))


def root_sift(descriptors: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Convert SIFT descriptors [N, 128] uint8 to RootSIFT, quantised to int8; zeros stay zeros.

    RootSIFT is the square root of a descriptor that is divided by its sum. It has length 1, and the
    Euclidean distance of two is the Hellinger distance of the original descriptors.
    """
    return quantise(np.sqrt(descriptors, dtype=np.float32))

"""Local features of an image, as the extractors make them and matching reads them."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

UNIT = 127
"""Euclidean length of a quantised descriptor, before rounding."""


@dataclass(frozen=True)
class Features:
    """Keypoints and a descriptor of each.

    Attributes:
        keypoints: [N, 2] float32 (x, y) in pixels of the image, where (0, 0) is the centre of the
            first pixel; or [N, 4] (x, y, diameter, angle), with the angle in degrees, if the
            extractor gives them.
        descriptors: [N, D] int8, as `quantise` makes them.
    """

    keypoints: NDArray[np.float32]
    descriptors: NDArray[np.int8]

    def __post_init__(self) -> None:
        """Refuse arrays that don't belong together."""
        n = len(self.keypoints)
        fits = self.keypoints.shape in ((n, 2), (n, 4))
        if not fits or self.descriptors.shape[:-1] != (n,):
            raise ValueError(
                "features need keypoints [N, 2] or [N, 4] and descriptors [N, D], "
                f"got {list(self.keypoints.shape)} and {list(self.descriptors.shape)}"
            )
        if self.descriptors.dtype != np.int8:
            raise ValueError(
                f"descriptors must be int8, as features.quantise makes them, "
                f"got {self.descriptors.dtype}"
            )
        if not np.isfinite(self.keypoints).all():
            raise ValueError("keypoints must be finite numbers, got NaN or infinity")


@dataclass(frozen=True)
class ImageFeatures(Features):
    """Features, and the size of the image that their keypoints refer to.

    Attributes:
        longest_side: Longest side of that image, in pixels. Thresholds in pixels scale with it.
    """

    longest_side: float

    def __post_init__(self) -> None:
        """Refuse an image without extent."""
        super().__post_init__()
        if not self.longest_side > 0:
            raise ValueError(f"longest_side must be above 0, got {self.longest_side}")


def quantise(descriptors: NDArray[np.float32]) -> NDArray[np.int8]:
    """Scale descriptors to length `UNIT` and round them to int8, so that products are exact.

    Rounding changes the distance of two descriptors, which is 0.5 to 1, by about 0.003.

    Args:
        descriptors: [N, D] of any length; a descriptor of zeros stays zero.

    Returns:
        [N, D] int8.

    Raises:
        ValueError: A descriptor is not finite.
    """
    if not np.isfinite(descriptors).all():
        raise ValueError("descriptors must be finite numbers, got NaN or infinity")
    length = np.linalg.norm(descriptors, axis=-1, keepdims=True)
    return np.asarray(np.rint(descriptors * (UNIT / np.where(length == 0, 1, length))), np.int8)


def resize_to_side(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resize an image [H, W] or [H, W, 3] to a longest side of `side` pixels."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    if factor == 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)


def map_keypoints(
    keypoints: NDArray[np.float32], found_in: tuple[int, ...], image: tuple[int, ...]
) -> NDArray[np.float32]:
    """Convert keypoints from pixels of a resized image to pixels of the original image.

    Args:
        keypoints: [N, 2] (x, y) in pixels of the resized image.
        found_in: Shape (H, W, ...) of the resized image.
        image: Shape (H, W, ...) of the original image.

    Returns:
        [N, 2] (x, y). Pixel centres are whole numbers, as in OpenCV; therefore 0.5 is added first.
    """
    factor = np.array([image[1] / found_in[1], image[0] / found_in[0]])
    return np.asarray((keypoints + 0.5) * factor - 0.5, np.float32)

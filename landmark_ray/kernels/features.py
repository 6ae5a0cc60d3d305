"""Local features of an image: what extractors make and matching reads."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

UNIT = 127
"""Length of a quantised descriptor."""


@dataclass(frozen=True)
class Features:
    """Keypoints with a descriptor each.

    Attributes:
        keypoints: [N, 2] float32 (x, y) in pixels of the image; (0, 0) is the first pixel's
            centre. Or [N, 4], where the extractor knows them: (x, y, diameter, angle), the last in
            degrees.
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
        longest_side: of that image, in pixels. Thresholds in pixels scale with it.
    """

    longest_side: float

    def __post_init__(self) -> None:
        """Refuse an image without extent."""
        super().__post_init__()
        if not self.longest_side > 0:
            raise ValueError(f"longest_side must be above 0, got {self.longest_side}")


def quantise(descriptors: NDArray[np.float32]) -> NDArray[np.int8]:
    """Descriptors for matching: of length `UNIT`, in whole numbers, so that products are exact.

    Rounding moves the distance of two descriptors by about 0.003, where they are apart by 0.5 to 1.

    Args:
        descriptors: [N, D] of any length; a descriptor of zeros stays so.

    Raises:
        ValueError: a descriptor is not finite.
    """
    if not np.isfinite(descriptors).all():
        raise ValueError("descriptors must be finite numbers, got NaN or infinity")
    length = np.linalg.norm(descriptors, axis=-1, keepdims=True)
    return np.asarray(np.rint(descriptors * (UNIT / np.where(length == 0, 1, length))), np.int8)


def resize_to_side(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """An image [H, W] or [H, W, 3] brought to a longest side of `side` pixels."""
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
    """Keypoints of a resized image in pixels of the original one.

    Args:
        keypoints: [N, 2] (x, y) in pixels of the resized image.
        found_in: shape (H, W, ...) of the resized image.
        image: shape (H, W, ...) of the original.

    Returns:
        [N, 2] (x, y). Pixel centres are at whole numbers, as in OpenCV, hence the halves.
    """
    factor = np.array([image[1] / found_in[1], image[0] / found_in[0]])
    return np.asarray((keypoints + 0.5) * factor - 0.5, np.float32)

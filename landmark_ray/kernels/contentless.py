"""Photos that show nothing (one colour, gradients, noise), recognised by three numbers.

A classifier names a landmark for them, with any confidence, because it never saw such photos. On
1,541 photos of landmarks and of other things, at 32 to 299 pixels, the smallest values were 4.3 for
detail, 0.53 for likeness and 3.4 for peakedness. One colour and gradients have no detail. In noise,
neighbouring pixels are not alike; if its grains are coarse, its peakedness is about 3, as that of
any Gaussian. This was measured on 1,184 drawn pictures.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.metrics import NO_LANDMARK

SIDE = 64
"""Width and height to which photos are reduced before they are measured, in pixels."""

DETAIL = 1.0
LIKENESS = 0.45
PEAKEDNESS = 3.3
"""A photo with a lower `Content.detail`, `likeness` or `peakedness` shows nothing."""

Answer = tuple[NDArray[np.int64], NDArray[np.float64]]


def without_contentless(answer: Answer, photos: NDArray[np.uint8]) -> Answer:
    """Remove the landmarks from the answers for photos that show nothing.

    Args:
        answer: Landmark ids and confidences [N, k].
        photos: [N, H, W, 3] uint8 RGB, as the models see them.

    Returns:
        The answer with `NO_LANDMARK` and 0 for these photos.
    """
    landmarks, confidences = answer
    blank = np.array([is_contentless(photo) for photo in photos], bool)[:, None]
    return np.where(blank, NO_LANDMARK, landmarks), np.where(blank, 0.0, confidences)


def is_contentless(photo: NDArray[np.uint8]) -> bool:
    """Return whether a photo [H, W, 3] is of one colour, a gradient, or noise."""
    content = measure(photo)
    return content.detail < DETAIL or content.likeness < LIKENESS or content.peakedness < PEAKEDNESS


class Content(NamedTuple):
    """Three measures of a photo, in grey and at `SIDE` pixels at most.

    Attributes:
        detail: Root mean square of the difference between a pixel and the mean of its two
            neighbours, in grey levels; 0 for a gradient.
        likeness: Correlation of neighbouring pixels, at most 1; 0 for white noise.
        peakedness: Kurtosis of the differences between neighbouring pixels. Photos are smooth with
            few edges, so theirs is high. Noise of any grain is a sum of independent parts, and so
            are its differences: their kurtosis is about 3.
    """

    detail: float
    likeness: float
    peakedness: float


def measure(photo: NDArray[np.uint8]) -> Content:
    """Measure a photo [H, W, 3] uint8."""
    side = min(*photo.shape[:2], SIDE)
    small = cv2.resize(photo.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    grey = small.mean(axis=-1, dtype=np.float64)
    steps, bends = (
        np.concatenate([np.diff(grey, order, axis).ravel() for axis in (0, 1)]) for order in (1, 2)
    )
    if not steps.any():
        return Content(0.0, 1.0, np.inf)
    squares = (steps - steps.mean()) ** 2
    return Content(
        float(np.sqrt((bends**2).mean()) / 2),
        float(1 - (steps**2).mean() / (2 * grey.var())),
        float((squares**2).mean() / squares.mean() ** 2) if squares.any() else np.inf,
    )

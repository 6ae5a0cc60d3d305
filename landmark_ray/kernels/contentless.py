"""Photos that show nothing: single colours, gradients and noise, told by three numbers of theirs.

A classifier never saw such, and names a landmark with any confidence. Measured on 1,541 photos of
landmarks and of other things and on 1,184 drawn ones, at 32 to 299 pixels: detail is 4.3 at least,
likeness 0.53, peakedness 3.4. One colour and gradients have no detail; neighbouring pixels of noise
are not alike, or, where its grains are coarse, its peakedness is about 3, as of any Gaussian.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.metrics import NO_LANDMARK

SIDE = 64
"""Photos are measured at so many pixels, whatever size the models take."""

DETAIL = 1.0
LIKENESS = 0.45
PEAKEDNESS = 3.3

Answer = tuple[NDArray[np.int64], NDArray[np.float64]]


def without_contentless(answer: Answer, photos: NDArray[np.uint8]) -> Answer:
    """An answer that names no landmark for photos that show nothing.

    Args:
        answer: landmark ids and confidences [N, k].
        photos: [N, H, W, 3] RGB, as the models see them.

    Returns:
        With `NO_LANDMARK` and 0 for these photos.
    """
    landmarks, confidences = answer
    blank = np.array([is_contentless(photo) for photo in photos], bool)[:, None]
    return np.where(blank, NO_LANDMARK, landmarks), np.where(blank, 0.0, confidences)


def is_contentless(photo: NDArray[np.uint8]) -> bool:
    """Whether a photo [H, W, 3] is of one colour, a gradient, or noise."""
    found = measure(photo)
    return found.detail < DETAIL or found.likeness < LIKENESS or found.peakedness < PEAKEDNESS


class Content(NamedTuple):
    """What is on a photo, in grey and at `SIDE` pixels at most.

    Attributes:
        detail: how far pixels are from the mean of those on both sides, in grey levels (root mean
            square); 0 on a gradient.
        likeness: correlation of neighbouring pixels, up to 1; that of white noise is 0.
        peakedness: kurtosis of the steps between pixels. Photos have few edges, and much that is
            smooth; noise of any grain is a sum of independent parts, and so are its steps: theirs
            is about 3.
    """

    detail: float
    likeness: float
    peakedness: float


def measure(photo: NDArray[np.uint8]) -> Content:
    """The content of a photo [H, W, 3]."""
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

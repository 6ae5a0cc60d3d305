"""The inlier rule: an affine map by RANSAC that a camera can make; inliers count once a cell."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_ZOOM = 5.0
"""An affine map that enlarges or reduces any direction by a larger factor is a chance fit."""

MAX_STRETCH = 3.0
"""An affine map whose factors in two directions have a larger ratio is a chance fit."""

CONFIDENCE = 0.999
"""RANSAC stops early when the probability that no better map exists reaches this value."""


def verify(
    points_a: NDArray[np.float32],
    points_b: NDArray[np.float32],
    *,
    residual_px: float,
    trials: int,
    seed: int,
) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_]]:
    """Find the affine map with the most inliers.

    Args:
        points_a: [K, 2] (x, y) of the matches in pixels of the first image.
        points_b: [K, 2] (x, y) of the matches in pixels of the second image.
        residual_px: Largest distance of an inlier from its mapped point, in pixels of the second
            image.
        trials: Largest number of RANSAC trials.
        seed: An equal seed and equal points give an equal result.

    Returns:
        The map [2, 3] from `points_a` to `points_b`, and the mask [K] of its inliers. None and no
        inliers if there is no map: with fewer than 3 matches, or if all are on a line.
    """
    if len(points_a) < 3:
        return None, np.zeros(len(points_a), bool)
    usac = cv2.UsacParams()
    usac.score = cv2.SCORE_METHOD_RANSAC
    usac.threshold = residual_px
    usac.maxIterations = trials
    usac.confidence = CONFIDENCE
    usac.randomGeneratorState = seed & 0x7FFFFFFF
    affine, inlier_mask = cv2.estimateAffine2D(points_a, points_b, usac)
    if affine is None or not np.isfinite(affine).all():
        return None, np.zeros(len(points_a), bool)
    return np.asarray(affine, np.float64), np.asarray(inlier_mask, bool).ravel()


def enough_trials(inliers: float, matches: int) -> int:
    """Return the RANSAC trials that miss a map with this many inliers in one pair of a million."""
    share = min(inliers / matches, 0.9)
    return math.ceil(math.log(1e-6) / math.log1p(-(share**3)))


def is_plausible(affine: NDArray[np.float64]) -> bool:
    """Return whether a camera can make a map [2, 3]; it can't mirror, or zoom or stretch much."""
    linear = affine[:, :2]
    (a, b), (c, d) = linear.tolist()
    if a * d - b * c <= 0:
        return False
    large, small = np.linalg.svd(linear, compute_uv=False)
    return bool(large < MAX_ZOOM and small > 1 / MAX_ZOOM and large < MAX_STRETCH * small)


def count_cells(points: NDArray[np.float32], size: float) -> int:
    """Count the square cells of `size` pixels that hold points [K, 2]; return K if size is 0."""
    if not size:
        return len(points)
    x, y = np.floor(points / size).astype(np.int64).T
    return len(set((x * 2**32 + y).tolist()))  # far faster than np.unique(axis=0)

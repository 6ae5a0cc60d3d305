"""The inlier rule: one affine map by RANSAC, whether a camera can make it, and inliers by place."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_ZOOM = 5.0
"""An affine map that enlarges or reduces any direction by more is taken for a chance fit."""

MAX_STRETCH = 3.0
"""So is one that stretches one direction by so many times as much as another."""

CONFIDENCE = 0.999
"""RANSAC stops early when it is so sure that no better map exists."""


def verify(
    points_a: NDArray[np.float32],
    points_b: NDArray[np.float32],
    *,
    residual_px: float,
    trials: int,
    seed: int,
) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_]]:
    """Find the affine map that explains most matches.

    Args:
        points_a: [K, 2] (x, y) in pixels.
        points_b: [K, 2] (x, y) in pixels of the other image.
        residual_px: distance of an inlier, at most, in pixels of the second image.
        trials: RANSAC trials, at most.
        seed: equal seed and points give an equal result.

    Returns:
        The map [2, 3] from `points_a` to `points_b`, and which of the K matches are its inliers.
        None and no inliers where there is no map: fewer than 3 matches, or all on a line.
    """
    if len(points_a) < 3:
        return None, np.zeros(len(points_a), bool)
    usac = cv2.UsacParams()
    usac.score = cv2.SCORE_METHOD_RANSAC
    usac.threshold = residual_px
    usac.maxIterations = trials
    usac.confidence = CONFIDENCE
    usac.randomGeneratorState = seed & 0x7FFFFFFF
    found, mask = cv2.estimateAffine2D(points_a, points_b, usac)
    if found is None or not np.isfinite(found).all():
        return None, np.zeros(len(points_a), bool)
    return np.asarray(found, np.float64), np.asarray(mask, bool).ravel()


def enough_trials(inliers: float, matches: int) -> int:
    """RANSAC trials that miss so many inliers once in a million pairs, if they are there."""
    share = min(inliers / matches, 0.9)
    return math.ceil(math.log(1e-6) / math.log1p(-(share**3)))


def is_plausible(affine: NDArray[np.float64]) -> bool:
    """Whether a camera makes such a map [2, 3]; never for one that mirrors or flattens."""
    linear = affine[:, :2]
    if np.linalg.det(linear) <= 0:
        return False
    large, small = np.linalg.svd(linear, compute_uv=False)
    return bool(large < MAX_ZOOM and small > 1 / MAX_ZOOM and large < MAX_STRETCH * small)


def count_cells(points: NDArray[np.float32], size: float) -> int:
    """Square cells of `size` pixels that hold any of the points [K, 2]; K when `size` is 0."""
    if not size:
        return len(points)
    x, y = np.floor(points / size).astype(np.int64).T
    return len(set((x * 2**32 + y).tolist()))  # far faster than np.unique(axis=0)

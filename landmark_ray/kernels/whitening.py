"""Whitening: centre descriptors, turn them to their principal axes, and damp each of these.

A few axes (light, colour, sky or wall) hold most of the variance of a network's vectors, and say
little about which landmark a photo shows. Dividing each axis by the square root of its standard
deviation evens them out in part: full whitening would raise the noise of the last axes, too.
Source: Jégou and Chum, "Negative evidences and co-occurrences in image retrieval" (ECCV 2012).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 128
"""Number of axes that are kept. Between 48 and 192, what `prune` keeps hardly changes."""

SHRINKAGE = 0.1
"""Share of the whole covariance in that within landmarks, which few photos estimate badly."""


@dataclass(frozen=True)
class Whitening:
    """An affine map of descriptors, followed by scaling to unit length.

    Attributes:
        mean: [D] float32, of descriptors of unit length.
        projection: [D, d] float32, the damped principal axes.
    """

    mean: NDArray[np.float32]
    projection: NDArray[np.float32]

    def __call__(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Whiten descriptors [N, D]: [N, d] float32 of unit length, so that a product is a cosine.

        The product is one of doubles, so that a vector hardly depends on those beside it.

        Raises:
            ValueError: The descriptors have another length, or a value is not finite.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.mean):
            raise ValueError(f"descriptors [N, {len(self.mean)}] needed, got {list(vectors.shape)}")
        centred = unit_length(vectors).astype(np.float64) - self.mean
        return unit_length(centred @ self.projection.astype(np.float64))


def fit_whitening(vectors: NDArray[np.floating], dimensions: int = DIMENSIONS) -> Whitening:
    """Fit a whitening to a sample of descriptors.

    Args:
        vectors: [N, D] with N of 2 at least. Their order changes the result by rounding only.
        dimensions: The number of axes to keep, or all that vary where there are fewer.

    Raises:
        ValueError: The shape is not as described, a value is not finite, or all descriptors are
            equal.
    """
    if vectors.ndim != 2 or len(vectors) < 2:
        raise ValueError(f"two descriptors [N, D] or more needed, got {list(vectors.shape)}")
    units = unit_length(vectors).astype(np.float64)
    mean = units.mean(axis=0)
    centred = units - mean
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    variances, axes = variances[::-1], axes[:, ::-1]
    varies = int((variances > max(variances[0], 0.0) * 1e-6).sum())
    if not varies or variances[0] < 1e-12:
        raise ValueError(f"all of {len(vectors):,} descriptors are equal: they tell nothing apart")
    kept = min(dimensions, varies)
    projection = axes[:, :kept] / variances[:kept] ** 0.25
    return Whitening(mean.astype(np.float32), projection.astype(np.float32))


def fit_learned_whitening(
    vectors: NDArray[np.floating], landmarks: NDArray[np.int64], dimensions: int = DIMENSIONS
) -> Whitening:
    """Fit a whitening that evens out how much photos of one landmark differ from each other.

    What varies among photos of the same landmark (light, season, distance) counts less than what
    varies among landmarks. Source: Mikolajczyk and Matas, "Improving descriptors for fast tree
    matching by optimal linear projection" (ICCV 2007); Radenovic, Tolias and Chum, "Fine-tuning CNN
    image retrieval with no human annotation" (2018), who call it learned whitening.

    Args:
        vectors: [N, D] with N of 2 at least.
        landmarks: [N] landmark of each, below 0 for photos of no landmark. These, and landmarks
            with one photo, only tell the main axes.
        dimensions: The number of axes to keep, or all that vary where there are fewer.

    Raises:
        ValueError: As `fit_whitening`.
    """
    plain = fit_whitening(vectors, dimensions)
    scale = np.linalg.norm(plain.projection, axis=0)
    axes = plain.projection.astype(np.float64) / scale
    turned = (unit_length(vectors).astype(np.float64) - plain.mean) @ axes
    shown = turned[landmarks >= 0]
    ids, own = np.unique(landmarks[landmarks >= 0], return_inverse=True)
    counts = np.bincount(own, minlength=len(ids))
    means = np.zeros((len(ids), turned.shape[1]))
    np.add.at(means, own, shown / counts[own, None])
    centred = (shown - means[own]) / np.sqrt(counts[own, None])
    within, whole = centred.T @ centred, turned.T @ turned
    if not np.trace(within) > 1e-9 * np.trace(whole):
        return plain
    mixed = (1 - SHRINKAGE) * within / np.trace(within) + SHRINKAGE * whole / np.trace(whole)
    variances, turns = np.linalg.eigh(mixed)
    return Whitening(plain.mean, (axes @ turns / np.sqrt(variances)).astype(np.float32))


def unit_length(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale vectors [N, D] to length 1, in float32. A vector of zeros stays one.

    Raises:
        ValueError: A value is not finite.
    """
    vectors = np.asarray(vectors, np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise ValueError(f"descriptor {bad[0]} of {len(vectors):,} has values that are not finite")
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

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
    varies among landmarks. The fewer landmarks there are, the less they tell of others, and the
    more the covariance of all descriptors counts instead. Source: Mikolajczyk and Matas, "Improving
    descriptors for fast tree matching by optimal linear projection" (ICCV 2007); Radenovic, Tolias
    and Chum, "Fine-tuning CNN image retrieval with no human annotation" (2018), who call it learned
    whitening.

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
    whole = turned.T @ turned / len(turned)
    within = within_landmarks(turned, landmarks, whole)
    if within is None:
        return plain
    variances, turns = np.linalg.eigh(within)
    variances = np.maximum(variances, 1e-6 * variances[-1])  # of an axis along which none varies
    return Whitening(plain.mean, (axes @ turns / np.sqrt(variances)).astype(np.float32))


def within_landmarks(
    vectors: NDArray[np.float64], landmarks: NDArray[np.int64], whole: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Estimate the covariance of photos of a landmark, in the mean of all landmarks.

    The mean of those given is drawn towards the covariance of all photos as far as it is uncertain:
    by the variance of the mean, divided by the squared distance between both, which gives the least
    expected squared error. Source: Ledoit and Wolf, "A well-conditioned estimator for
    large-dimensional covariance matrices" (2004), with landmarks as the samples.

    Args:
        vectors: [N, d].
        landmarks: [N] landmark of each, below 0 for none.
        whole: [d, d] the covariance of all vectors.

    Returns:
        [d, d] with a trace of 1, or None where fewer than two landmarks have two photos, or where
        the photos of each are equal.
    """
    total, squares, count = np.zeros_like(whole), 0.0, 0
    for rows in by_landmark(landmarks):
        if len(rows) > 1:
            centred = vectors[rows] - vectors[rows].mean(axis=0)
            own = centred.T @ centred / len(rows)
            total, squares, count = total + own, squares + (own**2).sum(), count + 1
    if count < 2 or not np.trace(total) > 1e-9 * count * np.trace(whole):
        return None
    size = np.trace(total) / count
    mean, target = total / (count * size), whole / np.trace(whole)
    uncertain = (squares / count / size**2 - (mean**2).sum()) / (count - 1)
    share = min(max(uncertain, 0.0) / max(((mean - target) ** 2).sum(), 1e-12), 1.0)
    return np.asarray((1 - share) * mean + share * target)


def by_landmark(landmarks: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the rows of each landmark; those below 0 show none."""
    order = np.argsort(landmarks, kind="stable")
    _, starts = np.unique(landmarks[order], return_index=True)
    return [rows for rows in np.split(order, starts[1:]) if len(rows) and landmarks[rows[0]] >= 0]


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

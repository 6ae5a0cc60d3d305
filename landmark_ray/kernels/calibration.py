"""Confidences that mean what they say, and the threshold of "not a landmark"."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landmark_ray.kernels.metrics import precision_recall

MOST = 20.0
"""Fitted temperatures are from 1 / MOST to MOST."""

VALIDATION_SMOOTHING = 0.02
"""Of the labels of a group's validation images: few images, all right, prove little."""

FEW_STRANGERS = 10
"""Fewer photos of no landmark prove nothing: were all of 9 refused, 3 in 10 others could yet pass
(the rule of three: 3 / n, at 95%)."""

USUAL = 0.05
"""Of the right answers so many may be refused where there is too little else to choose by."""

UNMEASURED = 0.5
"""The threshold where not even a right answer is known: likelier right than wrong."""

_HALVINGS = 20  # of log MOST: the temperature is exact to 3 millionths
_CELLS = 1 << 22  # of the logits that are worked on at once: 32 MiB in float64


def softmax(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities of logits divided by a temperature; logits of any size don't overflow.

    Args:
        logits: [..., C], worked on in float64.
        temperature: above 0; above 1 it makes confidences lower. The order of classes stays.

    Returns:
        [..., C], each row of sum 1.

    Raises:
        ValueError: the temperature is not above 0 and finite, or a logit not finite.
    """
    _check_temperature(temperature)
    powers = np.exp(_below_best(np.asarray(logits)) / temperature)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def negative_log_likelihood(
    logits: NDArray[np.float32],
    labels: NDArray[np.integer],
    weights: NDArray[np.floating] | None = None,
    *,
    temperature: float = 1.0,
) -> float:
    """Mean of -log softmax(logits / temperature) at the labels, in nats.

    Args:
        logits: [N, C].
        labels: [N] from 0 to C - 1.
        weights: [N] of the rows, not negative; all alike by default.
        temperature: above 0.

    Raises:
        ValueError: shapes or values are not as described, or the weights' sum is 0.
    """
    _check_temperature(temperature)
    share = _weights(logits, labels, weights)
    if not share.sum() > 0:
        raise ValueError("the likelihood needs a row with a weight above 0, got none")
    total = 0.0
    for rows in _chunks(logits):
        scaled = _below_best(logits[rows]) / temperature
        own = np.take_along_axis(scaled, labels[rows, None], axis=1)[:, 0]
        total += float(share[rows] @ (np.log(np.exp(scaled).sum(axis=1)) - own))
    return total / float(share.sum())


def fit_temperature(
    logits: NDArray[np.float32],
    labels: NDArray[np.integer],
    weights: NDArray[np.floating] | None = None,
    *,
    smoothing: float = 0.0,
) -> float:
    """The temperature that minimises `negative_log_likelihood` (Guo et al. 2017, section 4.2).

    It is convex in 1 / temperature, so the sign of its slope tells on which side of a temperature
    the best one lies. Halving answers with the end towards 1 of what is left, so the answer is
    never worse than 1. About 20 passes over the logits, in parts of bounded memory.

    Args:
        logits: [N, C], of images that the model was not trained on.
        labels: [N] from 0 to C - 1.
        weights: [N] of the rows, not negative; all alike by default.
        smoothing: share of each label that is spread over all classes. A few images that are all
            classified correctly say nothing of how often the next ones will be: without smoothing
            the confidences would all become 1.

    Returns:
        From 1 / `MOST` to `MOST`. 1.0 where no temperature is better: no rows, no weight, one
        class, equal logits, or a likelihood that is perfect at 1 already. Where every label alone
        has the highest logit and nothing is smoothed, colder is always better: about 1 / `MOST`,
        or the temperature from which on float64 sees no gain. Where chance does better than the
        logits, about `MOST`.

    Raises:
        ValueError: shapes or values are not as described.
    """
    share = _weights(logits, labels, weights)
    uphill = np.sign(_slope(logits, labels, share, 1.0, smoothing))  # towards colder
    if uphill == 0:
        return 1.0
    near, far = 0.0, uphill * math.log(MOST)
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        if np.sign(_slope(logits, labels, share, math.exp(middle), smoothing)) == uphill:
            near = middle
        else:
            far = middle
    return math.exp(near)


@dataclass(frozen=True)
class Threshold:
    """The confidence from which a prediction is accepted, and what to expect from it.

    Attributes:
        value: accept confidence >= value, compared in float64; from 0 to 1.
        precision: correct accepted / accepted, on the data that it was chosen on; 0 if none is.
        recall: correct accepted / images with a landmark.
        f1: harmonic mean of both.
    """

    value: float
    precision: float
    recall: float
    f1: float


def choose_threshold(
    confidences: ArrayLike, correct: ArrayLike, *, landmarks: int, least: float = 0.0
) -> Threshold:
    """The threshold of "not a landmark" with the highest F1.

    It lies in the middle between the lowest accepted and the highest rejected confidence. Of
    several equally good ones the one with the widest gap is taken, then the lowest; the gap of
    accepting everything is that from 0 to the lowest confidence.

    Args:
        confidences: [N] from 0 to 1, of the predictions for validation images.
        correct: [N] bool; False for every image without a landmark.
        landmarks: images with a landmark, with a prediction or without.
        least: the threshold is not lower, whatever its F1.

    Returns:
        With value `least` where nothing needs to be rejected, and also without a correct
        prediction: then every threshold is as bad.

    Raises:
        ValueError: shapes or values are not as described, or landmarks is 0 or less than the
            correct predictions.
    """
    curve = precision_recall(confidences, correct, landmarks=landmarks)
    if not curve.correct.any():
        return Threshold(least, 0.0, 0.0, 0.0)
    below = np.append(curve.thresholds[1:], 0.0)
    gaps = np.where(curve.f1 == curve.f1.max(), curve.thresholds - below, -1.0)
    best = len(gaps) - 1 - int(gaps[::-1].argmax())
    value = 0.0
    if best < len(gaps) - 1:
        high, low = float(curve.thresholds[best]), float(below[best])
        middle = (low + high) / 2
        value = middle if middle > low else high  # neighbours in float64 have no middle
    if value < least:
        value, best = least, int((curve.thresholds >= least).sum()) - 1
    if best < 0:
        return Threshold(value, 0.0, 0.0, 0.0)
    return Threshold(
        value, float(curve.precision[best]), float(curve.recall[best]), float(curve.f1[best])
    )


def usual_confidence(confidences: ArrayLike, correct: ArrayLike) -> float:
    """What all but `USUAL` of the right answers reach: the least threshold without strangers.

    Where nothing is known of photos without a landmark, accepting everything has the highest F1.
    What is known is how sure right answers are; whatever is less sure is unlike them.

    Args:
        confidences: [N] from 0 to 1.
        correct: [N] bool.

    Returns:
        `UNMEASURED` without a right answer.
    """
    right = np.asarray(confidences, np.float64)[np.asarray(correct, bool)]
    return float(np.quantile(right, USUAL, method="lower")) if len(right) else UNMEASURED


def choose_rejection_floor(confidences: ArrayLike, correct: ArrayLike) -> float:
    """The confidence below which an answer is hardly ever right, for competitions.

    A wrong answer of low confidence costs GAP nothing, a right one left out does: so half of what
    all but a thousandth of the right answers reach.

    Args:
        confidences: [N] from 0 to 1.
        correct: [N] bool.
    """
    right = np.asarray(confidences, np.float64)[np.asarray(correct, bool)]
    return float(np.quantile(right, 0.001, method="lower")) / 2 if len(right) else 0.0


def _slope(
    logits: NDArray[np.float32],
    labels: NDArray[np.integer],
    weights: NDArray[np.float64],
    temperature: float,
    smoothing: float,
) -> float:
    """Derivative of the summed negative log-likelihood by 1 / temperature: mean logit - own."""
    total = 0.0
    for rows in _chunks(logits):
        below = _below_best(logits[rows])
        powers = np.exp(below / temperature)
        mean = (powers * below).sum(axis=1) / powers.sum(axis=1)
        own = np.take_along_axis(below, labels[rows, None], axis=1)[:, 0]
        own = (1 - smoothing) * own + smoothing * below.mean(axis=1)
        total += float(weights[rows] @ (mean - own))
    return total


def _below_best(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logits [..., C] less the highest of their row: at most 0, so that powers can't overflow."""
    exact = np.asarray(logits, np.float64)
    if not np.isfinite(exact).all():
        raise ValueError("logits must be finite numbers, got NaN or infinity")
    return np.asarray(exact - exact.max(axis=-1, keepdims=True))


def _chunks(logits: NDArray[np.float32]) -> Iterator[slice]:
    step = max(1, _CELLS // logits.shape[1])
    for start in range(0, len(logits), step):
        yield slice(start, start + step)


def _weights(
    logits: NDArray[np.float32], labels: NDArray[np.integer], weights: NDArray[np.floating] | None
) -> NDArray[np.float64]:
    """The weights [N] in float64, once all three are found to fit."""
    share = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    if (
        logits.ndim != 2
        or not logits.shape[1]
        or not logits.shape[:1] == labels.shape == share.shape
    ):
        raise ValueError(
            "logits [N, C], labels [N] and weights [N] needed, "
            f"got {list(logits.shape)}, {list(labels.shape)} and {list(share.shape)}"
        )
    outside = labels[(labels < 0) | (labels >= logits.shape[1])]
    if len(outside):
        raise ValueError(f"labels must be from 0 to {logits.shape[1] - 1}, got {outside[0]}")
    if not (np.isfinite(share) & (share >= 0)).all():
        raise ValueError("weights must be finite and not negative")
    return share


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise ValueError(f"the temperature must be above 0 and finite, got {temperature}")

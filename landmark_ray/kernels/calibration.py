"""Calibrated confidences (temperature scaling), and the threshold of "not a landmark"."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landmark_ray.kernels.metrics import precision_recall

MAX_TEMPERATURE = 20.0
"""Fitted temperatures lie between 1 / MAX_TEMPERATURE and MAX_TEMPERATURE."""

VALIDATION_SMOOTHING = 0.02
"""Label smoothing for a group's validation images, whose labels may all be right because they are
few."""

FEW_STRANGERS = 10
"""With fewer photos of no landmark, the threshold cannot be chosen by them: even if all of 9 are
rejected, 3 in 10 others may be accepted (the rule of three: at most 3 / n, at 95% confidence)."""

FALLBACK_QUANTILE = 0.05
"""Share of the right answers that `fallback_threshold` rejects."""

DEFAULT_THRESHOLD = 0.5
"""Threshold if no right answer is known: an answer that is more likely right than wrong passes."""

_HALVINGS = 20  # of log MAX_TEMPERATURE: the temperature is exact to 3 millionths
_CELLS = 1 << 22  # numbers of the logits that one chunk holds: 32 MiB in float64


def softmax(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the softmax of logits divided by a temperature; large logits do not overflow.

    Args:
        logits: [..., C]; the computation is in float64.
        temperature: Above 0. A temperature above 1 makes the highest confidences lower; the order
            of the classes stays the same.

    Returns:
        [..., C]; each row has the sum 1.

    Raises:
        ValueError: The temperature is not above 0 and finite, or a logit is not finite.
    """
    _check_temperature(temperature)
    powers = np.exp(_below_best(np.asarray(logits)) / temperature)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def negative_log_likelihood(
    logits: NDArray[np.float32],
    labels: NDArray[np.integer],
    weights: NDArray[np.floating],
) -> float:
    """Return the weighted mean of -log softmax(logits) at the labels, in nats.

    Args:
        logits: [N, C].
        labels: [N] from 0 to C - 1.
        weights: [N] weights of the rows, not negative.

    Raises:
        ValueError: Shapes or values are not as described, or the sum of the weights is 0.
    """
    _check(logits, labels)
    share = np.asarray(weights, np.float64)
    if share.shape != labels.shape or not (np.isfinite(share) & (share >= 0)).all():
        raise ValueError("weights [N] needed, which are finite and not negative")
    if not share.sum() > 0:
        raise ValueError("the likelihood needs a row with a weight above 0, got none")
    total = 0.0
    for rows in _chunks(logits):
        below = _below_best(logits[rows])
        at_label = np.take_along_axis(below, labels[rows, None], axis=1)[:, 0]
        total += float(share[rows] @ (np.log(np.exp(below).sum(axis=1)) - at_label))
    return total / float(share.sum())


def fit_temperature(
    logits: NDArray[np.float32], labels: NDArray[np.integer], *, smoothing: float = 0.0
) -> float:
    """Return the temperature of the highest likelihood (Guo et al. 2017, sect. 4.2).

    The likelihood is convex in 1 / temperature, so the sign of its slope says on which side of a
    temperature the best one lies. Bisection returns the end of the last interval that is closer to
    1, so the result is never worse than 1. It takes about 20 passes over the logits, in chunks of
    bounded memory.

    Args:
        logits: [N, C], of images that the model was not trained on.
        labels: [N] from 0 to C - 1.
        smoothing: Share of each label that is spread over all classes. If a few images are all
            classified correctly, this does not say how often the next ones will be: without
            smoothing, all confidences would become 1.

    Returns:
        1 / `MAX_TEMPERATURE` to `MAX_TEMPERATURE`. It is 1.0 if no temperature is better: if there
        are no rows, if there is one class, if logits are equal, or if the likelihood is perfect at
        1. If every label has the highest logit and there is no smoothing, lower is
        always better: the result is about 1 / `MAX_TEMPERATURE`, or the temperature below which
        float64 shows no gain. If chance does better than the logits, it is about `MAX_TEMPERATURE`.

    Raises:
        ValueError: Shapes or values are not as described.
    """
    _check(logits, labels)
    uphill = np.sign(_slope(logits, labels, 1.0, smoothing))  # towards lower temperatures
    if uphill == 0:
        return 1.0
    near, far = 0.0, uphill * math.log(MAX_TEMPERATURE)
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        if np.sign(_slope(logits, labels, math.exp(middle), smoothing)) == uphill:
            near = middle
        else:
            far = middle
    return math.exp(near)


@dataclass(frozen=True)
class Threshold:
    """The confidence from which a prediction is accepted, and what to expect from it.

    Attributes:
        value: 0 to 1. A prediction is accepted if its confidence >= value, compared in float64.
        precision: Correct accepted / accepted predictions of the data that the threshold was chosen
            on; 0 if none is accepted.
        recall: Correct accepted predictions / images with a landmark.
        f1: Harmonic mean of precision and recall.
    """

    value: float
    precision: float
    recall: float
    f1: float


def choose_threshold(
    confidences: ArrayLike, correct: ArrayLike, *, landmarks: int, min_threshold: float = 0.0
) -> Threshold:
    """Return the threshold of "not a landmark" with the highest F1.

    The threshold lies in the middle between the lowest accepted and the highest rejected
    confidence. Of several equally good thresholds, the one with the widest gap is taken, then the
    lowest; the gap of accepting everything reaches from 0 to the lowest confidence.

    Args:
        confidences: [N] from 0 to 1, of the predictions for validation images.
        correct: [N] bool; False for every image without a landmark.
        landmarks: Number of images with a landmark, with a prediction or without.
        min_threshold: Lower bound of the threshold, whatever its F1.

    Returns:
        A threshold with the value `min_threshold` if nothing needs to be rejected, or if no
        prediction is correct, since then every threshold is equally bad.

    Raises:
        ValueError: Shapes or values are not as described, or landmarks is 0 or less than the
            number of correct predictions.
    """
    curve = precision_recall(confidences, correct, landmarks=landmarks)
    if not curve.correct.any():
        return Threshold(min_threshold, 0.0, 0.0, 0.0)
    below = np.append(curve.thresholds[1:], 0.0)
    gaps = np.where(curve.f1 == curve.f1.max(), curve.thresholds - below, -1.0)
    best = len(gaps) - 1 - int(gaps[::-1].argmax())
    value = 0.0
    if best < len(gaps) - 1:
        high, low = float(curve.thresholds[best]), float(below[best])
        middle = (low + high) / 2
        value = middle if middle > low else high  # neighbours in float64 have no middle
    if value < min_threshold:
        value, best = min_threshold, int((curve.thresholds >= min_threshold).sum()) - 1
    if best < 0:
        return Threshold(value, 0.0, 0.0, 0.0)
    return Threshold(
        value, float(curve.precision[best]), float(curve.recall[best]), float(curve.f1[best])
    )


def fallback_threshold(confidences: ArrayLike, correct: ArrayLike) -> float:
    """Return the confidence that all but a share of `FALLBACK_QUANTILE` of right answers reach.

    It is the lowest threshold if there are too few photos without a landmark. Without such photos,
    accepting everything has the highest F1; but an answer that is less confident than nearly all
    right answers is probably not one of them.

    Args:
        confidences: [N] from 0 to 1.
        correct: [N] bool.

    Returns:
        0 to 1; `DEFAULT_THRESHOLD` if no answer is right.
    """
    right = np.asarray(confidences, np.float64)[np.asarray(correct, bool)]
    if not len(right):
        return DEFAULT_THRESHOLD
    return float(np.quantile(right, FALLBACK_QUANTILE, method="lower"))


def choose_rejection_floor(confidences: ArrayLike, correct: ArrayLike) -> float:
    """Return the confidence below which an answer is almost never right, for competitions.

    A wrong answer of low confidence costs no GAP, but a right answer that is left out does.
    Therefore the floor is half of the confidence that all but a thousandth of right answers reach.

    Args:
        confidences: [N] from 0 to 1.
        correct: [N] bool.

    Returns:
        0 to 0.5; 0 if no answer is right.
    """
    right = np.asarray(confidences, np.float64)[np.asarray(correct, bool)]
    return float(np.quantile(right, 0.001, method="lower")) / 2 if len(right) else 0.0


def _slope(
    logits: NDArray[np.float32], labels: NDArray[np.integer], temperature: float, smoothing: float
) -> float:
    """Return the derivative of the summed negative log-likelihood by 1 / temperature."""
    total = 0.0
    for rows in _chunks(logits):
        below = _below_best(logits[rows])
        powers = np.exp(below / temperature)
        mean = (powers * below).sum(axis=1) / powers.sum(axis=1)
        at_label = np.take_along_axis(below, labels[rows, None], axis=1)[:, 0]
        at_label = (1 - smoothing) * at_label + smoothing * below.mean(axis=1)
        total += float((mean - at_label).sum())
    return total


def _below_best(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Subtract from logits [..., C] the highest of each row, so that powers cannot overflow."""
    exact = np.asarray(logits, np.float64)
    if not np.isfinite(exact).all():
        raise ValueError("logits must be finite numbers, got NaN or infinity")
    return np.asarray(exact - exact.max(axis=-1, keepdims=True))


def _chunks(logits: NDArray[np.float32]) -> Iterator[slice]:
    step = max(1, _CELLS // logits.shape[1])
    for start in range(0, len(logits), step):
        yield slice(start, start + step)


def _check(logits: NDArray[np.float32], labels: NDArray[np.integer]) -> None:
    if logits.ndim != 2 or not logits.shape[1] or logits.shape[:1] != labels.shape:
        raise ValueError(
            "logits [N, C] and labels [N] needed, "
            f"got {list(logits.shape)} and {list(labels.shape)}"
        )
    outside = labels[(labels < 0) | (labels >= logits.shape[1])]
    if len(outside):
        raise ValueError(f"labels must be from 0 to {logits.shape[1] - 1}, got {outside[0]}")


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise ValueError(f"the temperature must be above 0 and finite, got {temperature}")

"""Metrics of predictions: GAP, top-k accuracy, calibration error, precision and recall.

An image has at most one prediction. A prediction is correct if it names any of the image's
landmarks; for an image without a landmark, every prediction is wrong.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

NO_LANDMARK = -1
"""Stands in arrays of landmark ids for no landmark, for no prediction, and for the end of a row."""


def global_average_precision(
    image_ids: Sequence[str],
    predicted: Sequence[int | None] | NDArray[np.int64],
    confidences: ArrayLike,
    solution: Mapping[str, Set[int]],
    *,
    landmarks_only: bool = False,
) -> float:
    """Compute GAP (micro average precision), as the Google Landmark Recognition competitions do.

    All predictions are in one list, the most confident first: GAP = 1/M sum_i P(i) rel(i), where
    P(i) is the precision of the first i predictions, rel(i) is 1 if the i-th is correct and else 0,
    and M is the number of images with a landmark, with a prediction or without. Of equally
    confident predictions, the one with the smaller image id comes first. Source:
    `GlobalAveragePrecision` in tensorflow/models, research/delf,
    google_landmarks_dataset/metrics.py; Perronnin, Liu, Renders (CVPR 2009).

    Args:
        image_ids: [N] distinct ids; images of the solution may be absent.
        predicted: [N] landmark id, or None or `NO_LANDMARK` for an image without a prediction.
        confidences: [N] in any range, since only their order matters. The confidence of an image
            without a prediction is ignored.
        solution: Image id -> its landmarks, empty for an image without a landmark.
        landmarks_only: Leave out images without a landmark, whose predictions would be wrong.

    Returns:
        0 to 1.

    Raises:
        ValueError: Lengths differ, an id occurs twice or is not in the solution, the confidence of
            a prediction is not finite, or no image of the solution has a landmark.
    """
    scores = np.asarray(confidences, np.float64)
    if not (scores.shape == (len(image_ids),) == (len(predicted),)):
        got = f"{len(image_ids)}, {len(predicted)} and {list(scores.shape)}"
        raise ValueError(
            f"image_ids, predicted and confidences need one entry for each image, got {got}"
        )
    landmarks = sum(map(bool, solution.values()))
    if not landmarks:
        raise ValueError(f"GAP needs an image with a landmark, none of {len(solution)} has one")
    if len(set(image_ids)) < len(image_ids):
        twice = Counter(image_ids).most_common(1)[0][0]
        raise ValueError(f"an image has one prediction at most, image {twice!r} has several")
    ranked: list[tuple[float, str, bool]] = []
    for image, landmark, score in zip(image_ids, predicted, scores.tolist(), strict=True):
        if image not in solution:
            raise ValueError(f"image {image!r} is not in the solution")
        if landmark is None or not landmark >= 0 or (landmarks_only and not solution[image]):
            continue
        if not np.isfinite(score):
            raise ValueError(f"confidences must be finite numbers, image {image!r} has {score}")
        ranked.append((-score, image, landmark in solution[image]))
    correct = np.array([hit for _, _, hit in sorted(ranked)], bool)
    precision = correct.cumsum() / np.arange(1, len(correct) + 1)
    return float(precision[correct].sum() / landmarks)


def top_k_accuracy(ranked: NDArray[np.int64], truth: NDArray[np.int64], k: int) -> float:
    """Return the share of images with a landmark that have it among their first k predictions.

    Args:
        ranked: [N, K] landmark ids, the most confident first, filled up with `NO_LANDMARK`.
        truth: [N] landmark id; images with `NO_LANDMARK` don't count.
        k: 1 to K.

    Raises:
        ValueError: Shapes do not fit, k is out of range, or no image has a landmark.
    """
    if ranked.ndim != 2 or truth.shape != ranked.shape[:1]:
        got = f"{list(ranked.shape)} and {list(truth.shape)}"
        raise ValueError(f"ranked [N, K] and truth [N] needed, got {got}")
    if not 1 <= k <= ranked.shape[1]:
        raise ValueError(f"k must be from 1 to {ranked.shape[1]}, the columns of ranked, got {k}")
    known = truth >= 0
    if not known.any():
        raise ValueError(f"accuracy needs an image with a landmark, none of {len(truth)} has one")
    return float((ranked[known, :k] == truth[known, None]).any(axis=1).mean())


def top1_of_sides(right: NDArray[np.bool_], in_group: NDArray[np.bool_]) -> dict[str, float]:
    """Return the shares of right answers of a group's model; leave out a share of no images.

    Args:
        right: [N] bool; whether the best class of an image is right.
        in_group: [N] bool; whether the image shows a landmark of the group. For other images, the
            class "other" is right.

    Returns:
        `top1` of the images of the group's landmarks, `other_top1` of the other images.
    """
    sides = {"top1": right[in_group], "other_top1": right[~in_group]}
    return {name: float(hits.mean()) for name, hits in sides.items() if len(hits)}


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: confidence against accuracy in bins of equal width.

    Attributes:
        edges: [bins + 1] from 0 to 1; bin i holds confidences in (edges[i], edges[i + 1]], and the
            first bin holds 0, too.
        confidence: [bins] mean confidence, NaN in an empty bin.
        accuracy: [bins] share of correct predictions, NaN in an empty bin.
        count: [bins] int64 number of predictions.
    """

    edges: NDArray[np.float64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]


def reliability(confidences: ArrayLike, correct: ArrayLike, bins: int = 15) -> Reliability:
    """Sort predictions into bins by their confidence (Guo et al. 2017, section 2).

    Args:
        confidences: [N] from 0 to 1.
        correct: [N] bool.
        bins: Number of bins.

    Raises:
        ValueError: Shapes or ranges are not as described.
    """
    scores, hits = _checked(confidences, correct)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    edges = np.linspace(0, 1, bins + 1)
    index = np.searchsorted(edges[1:-1], scores, side="left")
    count = np.bincount(index, minlength=bins)
    members = np.where(count, count, np.nan)
    confidence = np.bincount(index, scores, minlength=bins) / members
    accuracy = np.bincount(index, hits, minlength=bins) / members
    return Reliability(edges, confidence, accuracy, count)


def expected_calibration_error(confidences: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Return ECE: the mean of |accuracy - confidence| over bins, weighted by their predictions.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), equation 3.

    Args:
        confidences: [N] from 0 to 1.
        correct: [N] bool.
        bins: Number of bins.

    Returns:
        0 to 1.

    Raises:
        ValueError: Shapes or ranges are not as described, or N is 0.
    """
    diagram = reliability(confidences, correct, bins)
    if not diagram.count.any():
        raise ValueError("the calibration error needs at least 1 prediction, got none")
    errors = abs(diagram.accuracy - diagram.confidence)
    return float(np.nansum(diagram.count * errors) / diagram.count.sum())


@dataclass(frozen=True)
class PrecisionRecall:
    """What each threshold accepts: all predictions whose confidence is at least the threshold.

    Attributes:
        thresholds: [K] float64; the distinct confidences, the highest first.
        accepted: [K] int64 number of accepted predictions.
        correct: [K] int64 number of accepted predictions that are correct.
        landmarks: Number of images with a landmark, with a prediction or without.
    """

    thresholds: NDArray[np.float64]
    accepted: NDArray[np.int64]
    correct: NDArray[np.int64]
    landmarks: int

    @property
    def precision(self) -> NDArray[np.float64]:
        """Precision [K]: correct accepted / accepted predictions."""
        return self.correct / self.accepted

    @property
    def recall(self) -> NDArray[np.float64]:
        """Recall [K]: correct accepted predictions / images with a landmark."""
        return self.correct / self.landmarks

    @property
    def f1(self) -> NDArray[np.float64]:
        """F1 [K]: harmonic mean of precision and recall; equal fractions give equal floats."""
        return 2 * self.correct / (self.accepted + self.landmarks)


def precision_recall(
    confidences: ArrayLike, correct: ArrayLike, *, landmarks: int
) -> PrecisionRecall:
    """Compute precision and recall at every threshold; equal confidences are accepted together.

    Args:
        confidences: [N] of the predictions, from 0 to 1.
        correct: [N] bool.
        landmarks: Number of images with a landmark; those without a prediction lower the recall.

    Raises:
        ValueError: Shapes or values are not as described, or landmarks is 0 or less than the
            number of correct predictions.
    """
    scores, hits = _checked(confidences, correct)
    if landmarks < max(1, hits.sum()):
        rule = f"at least 1 and no less than the correct predictions ({hits.sum()})"
        raise ValueError(f"landmarks must be {rule}, got {landmarks}")
    values, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    right = np.bincount(inverse[hits], minlength=len(values))
    return PrecisionRecall(values[::-1], counts[::-1].cumsum(), right[::-1].cumsum(), landmarks)


def parse_solution(text: str) -> frozenset[int]:
    """Read the landmark ids of an image from a solution file: "", "123" or "123 456".

    Raises:
        ValueError: The text is anything but whole numbers separated by spaces.
    """
    parts = text.split()
    for part in parts:
        if not (part.isascii() and part.isdigit()):
            raise ValueError(
                f"landmark ids must be whole numbers separated by spaces, got {text!r}"
            )
    return frozenset(map(int, parts))


def format_prediction(landmark_id: int, confidence: float | np.floating) -> str:
    """Format a prediction for a submission, such as "123 0.987654".

    The confidence has the fewest decimals that read back as the same float32 or float64, so that no
    ties arise, and it never has an exponent.

    Raises:
        ValueError: The id is negative, or the confidence is not finite.
    """
    if landmark_id < 0:
        raise ValueError(f"a landmark id must not be negative, got {landmark_id}")
    if not np.isfinite(confidence):
        raise ValueError(f"the confidence must be a finite number, got {confidence}")
    exact = confidence if isinstance(confidence, np.floating) else float(confidence)
    return f"{landmark_id} {np.format_float_positional(exact, trim='0')}"


def _checked(
    confidences: ArrayLike, correct: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores, hits = np.asarray(confidences, np.float64), np.asarray(correct)
    if scores.ndim != 1 or scores.shape != hits.shape:
        got = f"{list(scores.shape)} and {list(hits.shape)}"
        raise ValueError(f"confidences and correct need one entry for each prediction, got {got}")
    if len(hits) and hits.dtype != np.bool_:
        raise ValueError(f"correct must be bool, got {hits.dtype}")
    outside = scores[~((scores >= 0) & (scores <= 1))]
    if len(outside):
        raise ValueError(f"confidences must be from 0 to 1, got {outside[0]}")
    return scores, hits.astype(bool)

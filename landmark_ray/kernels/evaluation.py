"""What an ensemble's answers are worth, in one set of figures."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.calibration import choose_threshold
from landmark_ray.kernels.metrics import (
    NO_LANDMARK,
    expected_calibration_error,
    global_average_precision,
    top_k_accuracy,
)


def summary(
    image_ids: Sequence[str],
    truth: Sequence[frozenset[int]],
    ranked: NDArray[np.int64],
    confidences: NDArray[np.float64],
) -> dict[str, float | int]:
    """The figures of a set of images.

    Args:
        image_ids: [N].
        truth: [N] landmarks of each image, none for a photo of no landmark.
        ranked: [N, K] landmark ids, the surest first, filled up with `NO_LANDMARK`.
        confidences: [N, K] from 0 to 1.

    Returns:
        images, landmark_images; and where there is a landmark: top1 and top5 (of landmark images),
        gap, gap_landmarks (without the other images), ece (calibration error of the first answer),
        and the threshold of "not a landmark" with the highest F1: threshold, precision, recall, f1.
    """
    landmarks = sum(map(bool, truth))
    found: dict[str, float | int] = {"images": len(image_ids), "landmark_images": landmarks}
    if not landmarks:
        return found
    first, sure = ranked[:, 0], confidences[:, 0]
    right = np.array([label in names for label, names in zip(first.tolist(), truth, strict=True)])
    solution = dict(zip(image_ids, truth, strict=True))
    # of an image with several landmarks the one that ranks best counts
    best = np.array([_best(row, names) for row, names in zip(ranked, truth, strict=True)])
    threshold = choose_threshold(sure, right, landmarks=landmarks)
    return found | {
        "top1": top_k_accuracy(ranked, best, 1),
        "top5": top_k_accuracy(ranked, best, min(5, ranked.shape[1])),
        "gap": global_average_precision(image_ids, first, sure, solution),
        "gap_landmarks": global_average_precision(
            image_ids, first, sure, solution, landmarks_only=True
        ),
        "ece": expected_calibration_error(sure, right),
        "threshold": threshold.value,
        "precision": threshold.precision,
        "recall": threshold.recall,
        "f1": threshold.f1,
    }


def _best(row: NDArray[np.int64], names: frozenset[int]) -> int:
    """Of an image's landmarks the first that an answer names, else any."""
    return next((int(label) for label in row if label in names), min(names, default=NO_LANDMARK))

"""Eleven answers to one: the surest landmarks over all groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.calibration import softmax
from landmark_ray.kernels.metrics import NO_LANDMARK


@dataclass(frozen=True)
class GroupAnswer:
    """What a group's model says of some images.

    Attributes:
        landmarks: [C] landmark ids of the first C logits.
        logits: [N, C], or [N, C + 1] where the last one is everything else.
        temperature: divides the logits before the softmax.
    """

    landmarks: NDArray[np.int64]
    logits: NDArray[np.float32]
    temperature: float = 1.0

    def confidences(self) -> NDArray[np.float64]:
        """[N, C]: the share of "other" is left out, so a row may sum to less than 1."""
        return softmax(self.logits, self.temperature)[:, : len(self.landmarks)]


def top_k(answers: Sequence[GroupAnswer], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k surest landmarks of each image, over all groups.

    Args:
        answers: of the groups, about the same N images; no landmark is in two groups.
        k: at least 1.

    Returns:
        Landmark ids [N, k] and confidences [N, k], the surest first; of equally sure ones the one
        with the smaller id. Filled up with `NO_LANDMARK` and 0 where there are fewer landmarks.

    Raises:
        ValueError: no answer, or k is below 1.
    """
    if not answers or k < 1:
        raise ValueError(f"top_k needs an answer and k of 1 or more, got {len(answers)} and {k}")
    ids, scores = [], []
    for answer in answers:  # the best k of each group are enough
        confidences = answer.confidences()
        order = np.lexsort((np.broadcast_to(answer.landmarks, confidences.shape), -confidences))
        order = order[:, :k]
        ids.append(answer.landmarks[order])
        scores.append(np.take_along_axis(confidences, order, 1))
    landmarks, confidences = np.concatenate(ids, 1), np.concatenate(scores, 1)
    order = np.lexsort((landmarks, -confidences))[:, :k]
    missing = max(k - order.shape[1], 0)
    return (
        np.pad(
            np.take_along_axis(landmarks, order, 1),
            ((0, 0), (0, missing)),
            constant_values=NO_LANDMARK,
        ),
        np.pad(np.take_along_axis(confidences, order, 1), ((0, 0), (0, missing))),
    )

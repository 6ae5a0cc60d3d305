"""The answers of all groups become one: the most confident landmarks over all groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.calibration import softmax
from landmark_ray.kernels.metrics import NO_LANDMARK


@dataclass(frozen=True)
class GroupAnswer:
    """The output of a group's model for some images.

    Attributes:
        landmarks: [C] landmark ids of the first C logits; `NO_LANDMARK` where one was forgotten.
        logits: [N, C], or [N, C + 1] if the last class is "other".
        temperature: Divides the logits before the softmax.
    """

    landmarks: NDArray[np.int64]
    logits: NDArray[np.float32]
    temperature: float = 1.0

    def confidences(self) -> NDArray[np.float64]:
        """Return [N, C] confidences; a row may sum to less than 1, because "other" is left out."""
        confidences = softmax(self.logits, self.temperature)[:, : len(self.landmarks)]
        return np.where(self.landmarks == NO_LANDMARK, 0.0, confidences)


TopK = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Landmark ids [N, k] and confidences [N, k] of N images, the most confident first."""


def top_k(answers: Sequence[GroupAnswer], k: int) -> TopK:
    """Return the k most confident landmarks of each image, over all groups.

    Args:
        answers: Answers of the groups for the same N images; no landmark is in two groups.
        k: At least 1.

    Returns:
        Of equally confident landmarks, the one with the smaller id comes first. If there are fewer
        than k landmarks, `NO_LANDMARK` and 0 follow.

    Raises:
        ValueError: There is no answer, or k is below 1.
    """
    if not answers or k < 1:
        raise ValueError(f"top_k needs an answer and k of 1 or more, got {len(answers)} and {k}")
    return merge_top_k([_most_confident(a.landmarks, a.confidences(), k) for a in answers], k)


def merge_top_k(parts: Sequence[TopK], k: int) -> TopK:
    """Return the k most confident landmarks of several `top_k`, each of other groups."""
    landmarks, confidences = (np.concatenate(arrays, 1) for arrays in zip(*parts, strict=True))
    landmarks, confidences = _most_confident(landmarks, confidences, k)
    fill = ((0, 0), (0, max(k - landmarks.shape[1], 0)))
    return np.pad(landmarks, fill, constant_values=NO_LANDMARK), np.pad(confidences, fill)


def _most_confident(landmarks: NDArray[np.int64], confidences: NDArray[np.float64], k: int) -> TopK:
    """Return the k most confident landmarks of each row; landmarks are [C] or [N, C]."""
    landmarks = np.broadcast_to(landmarks, confidences.shape)
    if confidences.shape[1] > k:  # sorting all columns would take longer than the rest
        kth = -np.partition(-confidences, k - 1, axis=1)[:, k - 1 : k]
        columns = np.flatnonzero((confidences >= kth).any(axis=0))
        landmarks, confidences = landmarks[:, columns], confidences[:, columns]
    order = np.lexsort((landmarks, -confidences))[:, :k]
    return np.take_along_axis(landmarks, order, 1), np.take_along_axis(confidences, order, 1)

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


TopK = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Landmark ids [N, k] and confidences [N, k] of N images, the surest first."""


def top_k(answers: Sequence[GroupAnswer], k: int) -> TopK:
    """The k surest landmarks of each image, over all groups.

    Args:
        answers: of the groups, about the same N images; no landmark is in two groups.
        k: at least 1.

    Returns:
        Of equally sure ones the one with the smaller id comes first. Filled up with `NO_LANDMARK`
        and 0 where there are fewer landmarks.

    Raises:
        ValueError: no answer, or k is below 1.
    """
    if not answers or k < 1:
        raise ValueError(f"top_k needs an answer and k of 1 or more, got {len(answers)} and {k}")
    return merge_top_k([_most_confident(a.landmarks, a.confidences(), k) for a in answers], k)


def merge_top_k(parts: Sequence[TopK], k: int) -> TopK:
    """The k surest of several `top_k` of other groups each, about the same images."""
    landmarks, confidences = (np.concatenate(arrays, 1) for arrays in zip(*parts, strict=True))
    landmarks, confidences = _most_confident(landmarks, confidences, k)
    fill = ((0, 0), (0, max(k - landmarks.shape[1], 0)))
    return np.pad(landmarks, fill, constant_values=NO_LANDMARK), np.pad(confidences, fill)


def _most_confident(landmarks: NDArray[np.int64], confidences: NDArray[np.float64], k: int) -> TopK:
    """The k surest of each row; landmarks are [C] or [N, C]."""
    landmarks = np.broadcast_to(landmarks, confidences.shape)
    if confidences.shape[1] > k:  # to sort all would take longer than the rest
        least = -np.partition(-confidences, k - 1, axis=1)[:, k - 1 : k]
        some = np.flatnonzero((confidences >= least).any(axis=0))
        landmarks, confidences = landmarks[:, some], confidences[:, some]
    order = np.lexsort((landmarks, -confidences))[:, :k]
    return np.take_along_axis(landmarks, order, 1), np.take_along_axis(confidences, order, 1)

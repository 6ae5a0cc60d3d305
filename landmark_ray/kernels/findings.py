"""What a shard of an index finds for photos, and the candidates that come of all shards.

A shard returns the nearest photos and means of its own landmarks. The nearest of all shards are
those of the whole index, so the candidates are the same, whatever the number of shards.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.fusion import STRANGERS, Candidates
from landmark_ray.kernels.landmark_similarity import PHOTOS, nearest_of, to_nearest_photos
from landmark_ray.kernels.metrics import NO_LANDMARK
from landmark_ray.kernels.topk import TopK

BEST_MEANS = 10
"""Number of landmarks that are considered because their mean is nearest."""


@dataclass(frozen=True)
class Findings:
    """What a shard of an index finds for N photos.

    Attributes:
        cosines: [N, K] of the nearest photos, falling; -1 where there are fewer.
        neighbours: [N, K] landmarks of these photos; `NO_LANDMARK` where there are fewer.
        landmarks: [N, C] the shard's candidates; `NO_LANDMARK` where there are fewer.
        heads: [N, C] confidence of the heads, 0 to 1; NaN for landmarks that they do not know.
        mean: [N, C] similarity to the mean of the landmark's photos; see
            `landmark_similarity.means`.
        usual: [N, C] what is usual for the landmark's photos; see
            `landmark_similarity.usual_similarity`.
        photos: [N, C] number of photos of the landmark.
    """

    cosines: NDArray[np.float32]
    neighbours: NDArray[np.int64]
    landmarks: NDArray[np.int64]
    heads: NDArray[np.float64]
    mean: NDArray[np.float32]
    usual: NDArray[np.float32]
    photos: NDArray[np.int64]


def merge(parts: Sequence[Findings], heads: TopK) -> Candidates:
    """Return the candidates of the whole index, from the findings of all its shards.

    Args:
        parts: The findings of each shard, for the same N photos.
        heads: Landmark ids and confidences [N, k] of the heads, as the shards got them.
    """
    cosines, neighbours, landmarks, confidences, mean, usual, photos = (
        np.concatenate([getattr(part, field.name) for part in parts], axis=1)
        for field in fields(Findings)
    )
    if len(parts) > 1:
        order = np.argsort(-cosines, axis=1, kind="stable")[:, : parts[0].cosines.shape[1]]
        cosines, neighbours = (np.take_along_axis(a, order, 1) for a in (cosines, neighbours))
        last = max(mean.shape[1] - BEST_MEANS, 0)
        stay = mean >= np.partition(mean, last, axis=1)[:, last : last + 1]
        for others in (heads[0], neighbours):
            stay |= (landmarks[:, :, None] == others[:, None, :]).any(axis=2)
        landmarks = np.where(stay, landmarks, NO_LANDMARK)
    strangers, of_strangers = np.full((2, len(landmarks), 1), [[[STRANGERS]], [[PHOTOS]]])
    return Candidates(
        landmarks,
        np.where(landmarks == NO_LANDMARK, 0, confidences),
        to_nearest_photos(landmarks, cosines, neighbours, nearest_of(photos)),
        np.where(landmarks == NO_LANDMARK, np.float32(-1), mean),
        usual,
        to_nearest_photos(strangers, cosines, neighbours, of_strangers)[:, 0],
    )


def leave_out(
    cosines: NDArray[np.float32],
    rows: NDArray[np.int64],
    own: Sequence[NDArray[np.int64]],
    stay: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Remove each query's own rows from its neighbours [Q, K], of which the first `stay` stay."""
    out = np.stack([np.isin(row, taken) for row, taken in zip(rows, own, strict=True)])
    out |= rows < 0
    order = np.argsort(out, axis=1, kind="stable")[:, :stay]
    left = ~np.take_along_axis(out, order, 1)
    return (
        np.where(left, np.take_along_axis(cosines, order, 1), -1).astype(np.float32),
        np.where(left, np.take_along_axis(rows, order, 1), -1),
    )


def join(heads: TopK, *others: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return all landmarks [N, C] that a row of any array has once, and the heads' confidences."""
    ids = np.concatenate([heads[0], *others], axis=1)
    ids = np.where(ids == STRANGERS, NO_LANDMARK, ids)
    confidences = np.pad(heads[1], ((0, 0), (0, ids.shape[1] - heads[1].shape[1])))
    order = np.argsort(ids, axis=1, kind="stable")  # of equal ids, that of the heads is first
    ids, confidences = (np.take_along_axis(a, order, 1) for a in (ids, confidences))
    ids[:, 1:][ids[:, 1:] == ids[:, :-1]] = NO_LANDMARK
    order = np.argsort(ids == NO_LANDMARK, axis=1, kind="stable")
    used = max(int((ids != NO_LANDMARK).sum(axis=1).max(initial=1)), 1)
    ids, confidences = (np.take_along_axis(a, order, 1)[:, :used] for a in (ids, confidences))
    return ids, np.where(ids == NO_LANDMARK, 0, confidences)

"""What a group's head learns from: rows of `embeddings`, with labels and weights."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as pads
from numpy.typing import NDArray

from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.kernels import synthetic
from landmark_ray.kernels.sampling import rank_key

INDEX = ["image_id", "landmark_id", "group", "split", "view"]


@dataclass(frozen=True)
class Vectors:
    """Vectors of one side of the split.

    Attributes:
        x: [N, D] float16.
        y: [N] number of the class; that of "other" follows the last landmark's.
        weights: [N] of the samples, 1 on average.
        view: [N] 0 for a photo as it is.
    """

    x: NDArray[np.float16]
    y: NDArray[np.int32]
    weights: NDArray[np.float32]
    view: NDArray[np.int32]

    def where(self, rows: NDArray[np.bool_]) -> "Vectors":
        """Some of them, with weights of 1 on average again."""
        weights = self.weights[rows]
        mean = weights.mean() if len(weights) else 1.0
        return Vectors(self.x[rows], self.y[rows], weights / mean, self.view[rows])


@dataclass(frozen=True)
class GroupVectors:
    """All that a group's head learns from.

    Attributes:
        landmarks: [C] landmark ids of the classes, rising.
        other: whether there is a class of everything else.
        train: all views.
        validation: the photos as they are.
    """

    landmarks: NDArray[np.int64]
    other: bool
    train: Vectors
    validation: Vectors


def read_group(root: Root, group: int, config: Config) -> GroupVectors:
    """The vectors of a group, and of what it must tell from its landmarks."""
    dataset = root.dataset("embeddings")
    index = dataset.to_table(columns=INDEX).to_pandas()
    chosen = (index.group == group).to_numpy()
    landmarks = np.unique(index.landmark_id[chosen])
    if config.train.other_share:
        chosen = chosen | others(index, group, landmarks, config)
    x = _read(dataset, chosen)
    rows = index[chosen]
    own = (rows.group == group).to_numpy()
    y = np.where(own, np.searchsorted(landmarks, rows.landmark_id), len(landmarks))
    sides = []
    for side in ("train", "validation"):
        here = (rows.split == side).to_numpy()
        weights = weigh(y[here], len(landmarks), config)
        view = rows.view[here].to_numpy(np.int32)
        sides.append(Vectors(x[here], y[here].astype(np.int32), weights, view))
    return GroupVectors(landmarks, bool(config.train.other_share), *sides)


def closed_set_baseline(data: GroupVectors) -> GroupVectors:
    """Return the data without the class other: what the reference learned from."""
    sides = [side.where(side.y < len(data.landmarks)) for side in (data.train, data.validation)]
    return GroupVectors(data.landmarks, False, *sides)


def others(
    index: pd.DataFrame, group: int, landmarks: NDArray[np.int64], config: Config
) -> NDArray[np.bool_]:
    """Rows of images of other groups and of the background: a random choice of the photos.

    Of synthetic images there are few, and no photo stands for them: all are taken.
    A discarded photo of one of the group's own landmarks may well show it; it is left out.
    """
    strange = ((index.group != group) & ~index.landmark_id.isin(landmarks)).to_numpy()
    drawn = (index.landmark_id == synthetic.LABEL).to_numpy()
    ids = index.image_id[strange & ~drawn].unique()
    order = np.argsort(rank_key(ids, config.seed), kind="stable")[: config.train.others]
    return np.asarray(drawn | strange & index.image_id.isin(ids[order]).to_numpy())


def weigh(y: NDArray[np.integer[Any]], classes: int, config: Config) -> NDArray[np.float32]:
    """Return weights [N] of samples, 1 on average, for numbers [N] of their classes."""
    each = class_weights(np.bincount(y, minlength=classes + 1), config)
    return np.asarray(each[y])


def class_weights(counts: NDArray[np.integer[Any]], config: Config) -> NDArray[np.float32]:
    """Return what a sample of each class weighs, so that samples weigh 1 on average.

    Args:
        counts: [C + 1] samples of each class, the class other last.
        config: `other_share` of the sum is for the class other, the rest for the landmarks.
    """
    classes = len(counts) - 1
    share = config.train.other_share if counts[classes] else 0.0
    own = counts[:classes]
    part = (own > 0) / max((own > 0).sum(), 1) if config.train.balance else own / max(own.sum(), 1)
    parts = np.append((1 - share) * part, share)
    return np.asarray(parts / np.maximum(counts, 1) * counts.sum(), np.float32)


def _read(dataset: pads.Dataset, chosen: NDArray[np.bool_]) -> NDArray[np.float16]:
    """Read the vectors [N, D] of chosen rows, batch by batch."""
    parts, start = [], 0
    for batch in dataset.to_batches(columns=["vector"]):
        rows = np.flatnonzero(chosen[start : start + batch.num_rows])
        start += batch.num_rows
        if len(rows):
            data = b"".join(batch.column("vector").take(rows).to_pylist())
            parts.append(np.frombuffer(data, np.float16).reshape(len(rows), -1))
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float16)

"""The data of a group's head: rows of `embeddings`, with labels and weights."""

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
        x: [N, D] float16 vectors.
        y: [N] number of the class of each; "other" has the number after the last landmark.
        weights: [N] weight of each, 1 on average.
        view: [N] number of the view; 0 for the photo as it is.
    """

    x: NDArray[np.float16]
    y: NDArray[np.int32]
    weights: NDArray[np.float32]
    view: NDArray[np.int32]

    def where(self, rows: NDArray[np.bool_]) -> "Vectors":
        """Select rows by a mask [N], and scale their weights to 1 on average."""
        weights = self.weights[rows]
        mean = weights.mean() if len(weights) else 1.0
        return Vectors(self.x[rows], self.y[rows], weights / mean, self.view[rows])


@dataclass(frozen=True)
class GroupVectors:
    """The training and the validation data of a group's head.

    Attributes:
        landmarks: [C] landmark ids of the classes, rising.
        other: Whether there is a class "other".
        train: Vectors of all views of the training photos.
        validation: Vectors of the validation photos as they are.
    """

    landmarks: NDArray[np.int64]
    other: bool
    train: Vectors
    validation: Vectors


def read_group(root: Root, group: int, config: Config) -> GroupVectors:
    """Read the vectors of a group's landmarks and, if options ask for it, of the class "other"."""
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
        of_side = (rows.split == side).to_numpy()
        weights = weigh(y[of_side], len(landmarks), config)
        view = rows.view[of_side].to_numpy(np.int32)
        sides.append(Vectors(x[of_side], y[of_side].astype(np.int32), weights, view))
    return GroupVectors(landmarks, bool(config.train.other_share), *sides)


def closed_set_baseline(data: GroupVectors) -> GroupVectors:
    """Return the data without the class "other", as the reference project used it."""
    sides = [side.where(side.y < len(data.landmarks)) for side in (data.train, data.validation)]
    return GroupVectors(data.landmarks, False, *sides)


def others(
    index: pd.DataFrame, group: int, landmarks: NDArray[np.int64], config: Config
) -> NDArray[np.bool_]:
    """Choose images of other groups and of the background at random, for the class "other".

    All synthetic images are chosen, because there are few and no photo can replace them. Discarded
    photos that are filed under a landmark of the group are left out, as they may show it.

    Args:
        index: Rows of `embeddings` without their vectors.
        group: The number of the group.
        landmarks: [C] its landmarks.
        config: All options; `train.others` limits the number of photos.

    Returns:
        A mask of the rows.
    """
    is_other = ((index.group != group) & ~index.landmark_id.isin(landmarks)).to_numpy()
    is_synthetic = (index.landmark_id == synthetic.LABEL).to_numpy()
    ids = index.image_id[is_other & ~is_synthetic].unique()
    order = np.argsort(rank_key(ids, config.seed), kind="stable")[: config.train.others]
    return np.asarray(is_synthetic | is_other & index.image_id.isin(ids[order]).to_numpy())


def weigh(y: NDArray[np.integer[Any]], classes: int, config: Config) -> NDArray[np.float32]:
    """Return the weights [N] of samples, 1 on average, from the numbers [N] of their classes."""
    weights = class_weights(np.bincount(y, minlength=classes + 1), config)
    return np.asarray(weights[y])


def class_weights(counts: NDArray[np.integer[Any]], config: Config) -> NDArray[np.float32]:
    """Return the weight [C + 1] of a sample of each class, so that samples weigh 1 on average.

    Args:
        counts: [C + 1] number of samples of each class, the class "other" last.
        config: All options. The class "other" gets the share `train.other_share` of all weight. The
            landmarks get the rest, in equal parts if `train.balance`, else by their samples.
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

"""Vectors of photos by a trunk that stays as it is."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from landmark_ray.models.augmentation import build_augmentation
from landmark_ray.models.specs import AugmentationOptions

BATCH = 32
"""Photos at once; the last batch is filled up, so that one compiled function does for all."""


def outputs_of(model: keras.Model, photos: NDArray[Any]) -> NDArray[np.float32]:
    """What a trunk or a classifier says of photos [N, H, W, 3], RGB in 0..255: [N, D]."""
    found = np.zeros((len(photos), model.output_shape[-1]), np.float32)
    for start in range(0, len(photos), BATCH):
        rows = photos[start : start + BATCH]
        batch = np.zeros((BATCH, *photos.shape[1:]), np.float32)
        batch[: len(rows)] = rows
        found[start : start + BATCH] = model.predict_on_batch(batch)[: len(rows)]
    return found


class Embedder:
    """A trunk that makes vectors of photos as they are and of augmented ones."""

    def __init__(self, trunk: keras.Model, options: AugmentationOptions) -> None:
        """trunk: of `build_trunk`; options: how the varied photos vary."""
        self._trunk, self._options = trunk, options

    def embed(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, D] vectors of photos [N, H, W, 3], RGB."""
        return outputs_of(self._trunk, photos)

    def augmented_views(self, photos: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
        """[N, D] vectors of varied photos; equal photos, order and seed give equal vectors."""
        vary = build_augmentation(self._options, seed)
        views = [
            ops.convert_to_numpy(vary(photos[i : i + BATCH].astype(np.float32), training=True))
            for i in range(0, len(photos), BATCH)
        ]
        return self.embed(np.concatenate(views)) if views else self.embed(photos)

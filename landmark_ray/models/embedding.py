"""Feature vectors of photos from a frozen trunk."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from landmark_ray.models.augmentation import build_augmentation
from landmark_ray.models.specs import AugmentationOptions

BATCH = 32
"""Photos in a batch. The last batch is filled up, so that one compiled function serves all."""


def outputs_of(model: keras.Model, photos: NDArray[Any]) -> NDArray[np.float32]:
    """Return the outputs [N, D] of a trunk or classifier for photos [N, H, W, 3] RGB in 0..255."""
    outputs = np.zeros((len(photos), model.output_shape[-1]), np.float32)
    for start in range(0, len(photos), BATCH):
        rows = photos[start : start + BATCH]
        batch = np.zeros((BATCH, *photos.shape[1:]), np.float32)
        batch[: len(rows)] = rows
        outputs[start : start + BATCH] = model.predict_on_batch(batch)[: len(rows)]
    return outputs


class Embedder:
    """A trunk that computes vectors of photos as they are and of augmented photos."""

    def __init__(self, trunk: keras.Model, options: AugmentationOptions) -> None:
        """Use a trunk of `build_trunk`, and options of the augmentation."""
        self._trunk, self._options = trunk, options

    def embed(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the vectors [N, D] of photos [N, H, W, 3] RGB."""
        return outputs_of(self._trunk, photos)

    def augmented_views(self, photos: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
        """Compute the vectors [N, D] of one augmented view of each photo [N, H, W, 3] RGB.

        Equal photos in equal order, and an equal seed, give equal vectors.
        """
        augment = build_augmentation(self._options, seed)
        views = [
            ops.convert_to_numpy(augment(photos[i : i + BATCH].astype(np.float32), training=True))
            for i in range(0, len(photos), BATCH)
        ]
        return self.embed(np.concatenate(views)) if views else self.embed(photos)

"""Outputs of a network for photos, in batches, and vectors of augmented photos.

Photos are sent to the device as bytes and converted there. Some batches are on their way at a time,
so that a GPU does not wait until the outputs of the last one are fetched.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from landmark_ray.models.augmentation import build_augmentation
from landmark_ray.models.backend import has_fixed_shapes, jit, on_gpu, xla
from landmark_ray.models.layers import Tensor
from landmark_ray.models.specs import AugmentationOptions

BATCH, GPU_BATCH = 32, 128
"""Photos in a batch. The last one is filled up where a compiled function serves one shape, so that
a GPU gets batches as large as a shard is by default (`--sample.shard_images`)."""

IN_FLIGHT = 3
"""Batches that a GPU may have before the outputs of the first are fetched."""


class Embedder:
    """A network that is compiled once, and computes its outputs for any number of photos."""

    def __init__(self, network: keras.Model, options: AugmentationOptions | None = None) -> None:
        """Prepare a network.

        Args:
            network: A trunk of `build_trunk`, or a classifier. Its weights may change later.
            options: Options of the augmentation, for `augmented_views`.
        """
        self.network = network
        self._augmentation = build_augmentation(options, 0) if options else None
        self._batch, self._fills = GPU_BATCH if on_gpu() else BATCH, has_fixed_shapes()
        self._outputs = jit(self._compute)
        self._views = xla(self._compute_views)  # on a CPU, a sixth of the time of a plain graph

    def embed(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the outputs [N, D] for photos [N, H, W, 3] RGB."""
        weights = _values(self.network)

        def run(batch: NDArray[np.uint8]) -> Tensor:
            return self._outputs(*weights, _filled(batch, self._batch) if self._fills else batch)

        return self._in_batches(photos, run)

    def augmented_views(self, photos: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
        """Compute the outputs [N, D] for one augmented view of each photo [N, H, W, 3] RGB.

        Equal photos in equal order, and an equal seed, give equal outputs on devices of one kind.
        """
        if self._augmentation is None:
            raise ValueError("augmented views need options of the augmentation")
        weights = _values(self.network)
        states = [  # those of `build_augmentation(options, seed)`
            ops.convert_to_tensor(ops.convert_to_numpy(v) + np.array([seed, 0]), v.dtype)
            for v in self._augmentation.variables
        ]

        def run(batch: NDArray[np.uint8]) -> Tensor:
            nonlocal states
            views, states = self._views(states, _filled(batch, self._batch))
            return self._outputs(*weights, views if self._fills else views[: len(batch)])

        return self._in_batches(photos, run)

    def _in_batches(
        self, photos: NDArray[np.uint8], run: Callable[[NDArray[np.uint8]], Tensor]
    ) -> NDArray[np.float32]:
        outputs = np.zeros((len(photos), self.network.output_shape[-1]), np.float32)
        flying: deque[tuple[int, Tensor]] = deque()

        def land() -> None:
            start, batch = flying.popleft()
            rows = outputs[start : start + self._batch]
            rows[:] = ops.convert_to_numpy(batch)[: len(rows)]

        for start in range(0, len(photos), self._batch):
            rows = photos[start : start + self._batch]
            flying.append((start, run(rows)))
            if len(flying) > IN_FLIGHT:
                land()
        while flying:
            land()
        return outputs

    def _compute(self, learned: list[Tensor], fixed: list[Tensor], photos: Tensor) -> Tensor:
        outputs, _ = self.network.stateless_call(
            learned, fixed, ops.cast(photos, "float32"), training=False
        )
        return ops.cast(outputs, "float32")

    def _compute_views(self, states: list[Tensor], photos: Tensor) -> tuple[Tensor, list[Tensor]]:
        augmentation: Any = self._augmentation
        views, states = augmentation.stateless_call(
            [], states, ops.cast(photos, "float32"), training=True
        )
        return views, list(states)


def _filled(photos: NDArray[np.uint8], batch: int) -> NDArray[np.uint8]:
    """Fill up photos [N, H, W, 3] with black ones, to as many as a batch has."""
    more = batch - len(photos)
    return np.pad(photos, [(0, more), (0, 0), (0, 0), (0, 0)]) if more else photos


def _values(network: keras.Model) -> tuple[list[Tensor], list[Tensor]]:
    """Return the values of the variables that training changes, and of the others.

    They are copies, as `convert_to_tensor` leaves a variable of TensorFlow as it is, and a function
    that gets 260 variables spends 2 ms of a photo's 18 on looking at their values.
    """
    return (
        [ops.copy(v) for v in network.trainable_variables],
        [ops.copy(v) for v in network.non_trainable_variables],
    )

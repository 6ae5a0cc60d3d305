"""Vectors on the device."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from landmark_ray.kernels.head_batches import padded
from landmark_ray.models.layers import Tensor


@dataclass(frozen=True)
class Samples:
    """Vectors on the device.

    Attributes:
        x: [M, D] float16; M is `padded`, and rows from `count` on are empty.
        y: [M] int32 numbers of the classes.
        weights: [M] float32, 0 in empty rows.
        count: Number of vectors N.
        total: Sum of the weights.
    """

    x: Tensor
    y: Tensor
    weights: Tensor
    count: int
    total: float

    @classmethod
    def send(cls, x: NDArray[Any], y: NDArray[np.int32], weights: NDArray[np.float32]) -> "Samples":
        """Send vectors [N, D] and the classes and weights [N] of each to the device."""
        more = padded(max(len(x), 1)) - len(x)
        return cls(
            ops.convert_to_tensor(np.pad(x, ((0, more), (0, 0))), "float16"),
            ops.convert_to_tensor(np.pad(y, (0, more)), "int32"),
            ops.convert_to_tensor(np.pad(weights, (0, more)), "float32"),
            len(x),
            float(weights.sum()),
        )

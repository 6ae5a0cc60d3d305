"""Sub-center ArcFace: what a trunk learns by to tell all landmarks apart with one embedding.

Sources: Deng et al., "ArcFace: Additive Angular Margin Loss" (CVPR 2019); Deng et al., "Sub-center
ArcFace" (ECCV 2020); margins of Ha et al., "Google Landmark Recognition 2020 Competition Third
Place Solution" (2020).
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from landmark_ray.errors import UserError
from landmark_ray.models.layers import Tensor, register

Batch = tuple[NDArray[Any], ...]
"""Photos [B, H, W, 3], classes or labels, and weights [B]."""

CENTERS = 3
"""Vectors of each landmark, which suits landmarks photographed from several sides (k = 3)."""

SAMPLED = 0.1
"""Share of the landmarks whose centers a step has, where those of all do not fit."""

COPIES = 12
"""Arrays of the size of a step's centers that training holds at most: them, two moments and their
average, and while a step lasts, gradients and results in between. TensorFlow on a CPU, where XLA
does not compile the step, reached 11.5 of them."""

_LEAST_SINE = 1e-6
"""Square of the smallest sine that the loss uses, since the root of 0 has no finite gradient."""


def margins_of(
    counts: NDArray[np.integer[Any]], a: float, b: float, power: float
) -> NDArray[np.float32]:
    """Return the margin [C] of each landmark, a n^-power + b, in radians.

    Landmarks with few photos get large margins.

    Args:
        counts: [C] number of photos of each landmark; 0 counts as 1.
        a: What a landmark with one photo gets beyond b.
        b: What a landmark with any number of photos gets.
        power: How fast margins shrink; 0: all are equal.

    Raises:
        UserError: A margin is not at least 0 and below a right angle.
    """
    margins = a * np.maximum(counts, 1).astype(np.float64) ** -power + b
    if not ((margins >= 0) & (margins < math.pi / 2)).all():
        low, high = float(margins.min()), float(margins.max())
        raise UserError(
            f"ArcFace's margins would be {low:.3g} to {high:.3g} radians, and must be at least 0 "
            "and below 1.571: change --train.margin_few or --train.margin_many"
        )
    return margins.astype(np.float32)


def classes_of_a_step(classes: int, features: int, batch: int, gigabytes: float) -> int:
    """Return the number of landmarks whose centers a step holds: all of them, if they fit.

    If they do not, the centers of a step move between main memory and the device, which takes
    longer than the step. Source for how few suffice: An et al., "Killing two birds with one stone"
    (2022), where a tenth of the classes is as good as all.

    Args:
        classes: Number of landmarks.
        features: Length of the embedding.
        batch: Number of photos in a step. The centers of their landmarks must fit, and those of as
            many others to tell them from.
        gigabytes: Memory for the centers of a step and what is computed from them, in 10^9 bytes.

    Raises:
        UserError: Not even these fit.
    """
    bytes_of_a_class = CENTERS * features * 4 * COPIES
    fits = int(gigabytes * 1e9 / bytes_of_a_class)
    least = min(2 * batch, classes)
    if fits < least:
        need = least * bytes_of_a_class / 1e9
        raise UserError(
            f"the {CENTERS} centers of {least:,} landmarks, which a step of {batch} photos needs, "
            f"take {need:.2g} GB, and --train.metric_memory_gb is {gigabytes:g}: give "
            f"{need * 1.1:.2g}, or a smaller --train.batch or --train.embedding"
        )
    return classes if fits >= classes else min(fits, max(int(SAMPLED * classes), least))


@register
class SubCenterCosine(keras.layers.Layer):  # type: ignore[misc]
    """Scaled cosines between an embedding and the nearest of the centers of each class.

    The input is [B, D]; the output is [B, classes] float32 in -scale..scale.
    """

    def __init__(self, classes: int, scale: float, centers: int = CENTERS, **kwargs: Any) -> None:
        """Set the number of classes and of centers of each, and the factor of the cosines."""
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.classes, self.scale, self.centers = classes, scale, centers

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Make the centers [classes, centers, D]."""
        self.kernel = self.add_weight(
            shape=(self.classes, self.centers, input_shape[-1]),
            initializer="glorot_uniform",
            name="kernel",
        )

    def call(self, features: Tensor) -> Tensor:
        """Compute the scaled cosines [B, classes] of embeddings [B, D]."""
        kernel = ops.reshape(ops.normalize(self.kernel, axis=-1), (-1, self.kernel.shape[-1]))
        cosines = ops.matmul(ops.normalize(features, axis=-1), ops.transpose(kernel))
        return self.scale * ops.max(ops.reshape(cosines, (-1, self.classes, self.centers)), axis=-1)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return [B, classes]."""
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {"classes": self.classes, "scale": self.scale, "centers": self.centers}
        return super().get_config() | own


def with_margins(batches: Iterable[Batch], margins: NDArray[np.float32]) -> Iterator[Batch]:
    """Yield batches (x, y, weights) with the labels of `ArcFace`, from class numbers y [B]."""
    for x, y, weights in batches:
        yield x, np.stack([y.astype(np.float32), margins[y]], axis=1), weights


@register
class ArcFace(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of scaled cosines, where the angle to the own class is enlarged by a margin.

    `y_true` is [B, 2] float32, the class numbers and their margins in radians; `y_pred` is
    [B, classes] cosines times the scale. Where the enlarged angle would be above 180 degrees, and
    its cosine rise again, the cosine less m sin(m) takes its place, as in the authors' code
    (insightface, `margin_softmax.py`).
    """

    def __init__(self, scale: float, **kwargs: Any) -> None:
        """Use the factor of the cosines.

        Raises:
            ValueError: The scale is not above 0.
        """
        super().__init__(**{"name": "arcface", "dtype": "float32"} | kwargs)
        self.scale = scale
        if not scale > 0:
            raise ValueError(f"ArcFace: scale must be above 0, got {scale}")

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the losses [B]; Keras applies sample weights and reduces them."""
        own = ops.one_hot(ops.cast(y_true[:, 0], "int32"), y_pred.shape[-1], dtype="float32")
        margin = y_true[:, 1]
        cosine = ops.clip(ops.sum(own * y_pred, axis=-1) / self.scale, -1.0, 1.0)
        sine = ops.sqrt(ops.maximum(1.0 - cosine * cosine, _LEAST_SINE))
        far = cosine * ops.cos(margin) - sine * ops.sin(margin)
        far = ops.where(cosine > -ops.cos(margin), far, cosine - margin * ops.sin(margin))
        logits = y_pred + own * ops.expand_dims(self.scale * (far - cosine), -1)
        return ops.logsumexp(logits, axis=-1) - ops.sum(own * logits, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().get_config() | {"scale": self.scale}


@register
def accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return whether the nearest center is one of the own class [B]; arguments as of `ArcFace`."""
    nearest = ops.cast(ops.argmax(y_pred, axis=-1), "float32")
    return ops.cast(ops.equal(nearest, y_true[:, 0]), "float32")

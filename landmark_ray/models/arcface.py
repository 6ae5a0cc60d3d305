"""Sub-center ArcFace: what a trunk learns by to tell all landmarks apart with one embedding.

Sources: Deng et al., "ArcFace: Additive Angular Margin Loss" (CVPR 2019); Deng et al., "Sub-center
ArcFace" (ECCV 2020); margins of Ha et al., "Google Landmark Recognition 2020 Competition Third
Place Solution" (2020).
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from landmark_ray.errors import UserError
from landmark_ray.models.layers import Tensor, register

CENTERS = 3
"""Vectors of each landmark, which suits landmarks photographed from several sides (k = 3)."""

COPIES = 4
"""Arrays of the size of the centers that training holds: them, two moments, and their average."""

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


def check_memory(classes: int, features: int, gigabytes: float) -> None:
    """Refuse landmarks whose centers do not fit.

    Args:
        classes: Number of landmarks.
        features: Length of the embedding.
        gigabytes: Memory for centers, their moments and their average, in 10^9 bytes.

    Raises:
        UserError: They do not fit.
    """
    need = classes * CENTERS * features * 4 * COPIES / 1e9
    if need > gigabytes:
        fits = int(gigabytes * 1e9 / (classes * CENTERS * 4 * COPIES))
        smaller = f", or --train.embedding {fits}" if fits else ""
        raise UserError(
            f"{classes:,} landmarks with {CENTERS} centers of {features} numbers need {need:.3g} "
            f"GB in training, and --train.metric_memory_gb is {gigabytes:g}: "
            f"give {math.ceil(need * 10) / 10:g}{smaller}"
        )


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
        """Make the centers [D, centers * classes]: the first of all classes, then the second."""
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.centers * self.classes),
            initializer="glorot_uniform",
            name="kernel",
        )

    def call(self, features: Tensor) -> Tensor:
        """Compute the scaled cosines [B, classes] of embeddings [B, D]."""
        kernel = ops.normalize(self.kernel, axis=0)
        cosines = ops.matmul(ops.normalize(features, axis=-1), kernel)
        return self.scale * ops.max(ops.reshape(cosines, (-1, self.centers, self.classes)), axis=1)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return [B, classes]."""
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {"classes": self.classes, "scale": self.scale, "centers": self.centers}
        return super().get_config() | own


@register
class ArcFace(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of scaled cosines, where the angle to the own class is enlarged by a margin.

    `y_true` is [B] or [B, 1] class numbers; `y_pred` is [B, classes] cosines times the scale. Where
    the enlarged angle would be above 180 degrees, and its cosine rise again, the cosine less
    m sin(m) takes its place, as in the authors' code (insightface, `margin_softmax.py`).
    """

    def __init__(self, margins: Sequence[float], scale: float, **kwargs: Any) -> None:
        """Use a margin [classes], in radians, of each class, and the factor of the cosines.

        Raises:
            ValueError: A margin is below 0 or a right angle or more, or the scale is not above 0.
        """
        super().__init__(**{"name": "arcface", "dtype": "float32"} | kwargs)
        self.margins, self.scale = [float(m) for m in margins], scale
        if not all(0 <= m < math.pi / 2 for m in self.margins):
            raise ValueError("ArcFace: margins must be at least 0 and below pi / 2")
        if not scale > 0:
            raise ValueError(f"ArcFace: scale must be above 0, got {scale}")

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the losses [B]; Keras applies sample weights and reduces them."""
        y = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        own = ops.one_hot(y, len(self.margins), dtype="float32")
        margin = ops.take(np.array(self.margins, np.float32), y)
        cosine = ops.clip(ops.sum(own * y_pred, axis=-1) / self.scale, -1.0, 1.0)
        sine = ops.sqrt(ops.maximum(1.0 - cosine * cosine, _LEAST_SINE))
        far = cosine * ops.cos(margin) - sine * ops.sin(margin)
        far = ops.where(cosine > -ops.cos(margin), far, cosine - margin * ops.sin(margin))
        logits = y_pred + own * ops.expand_dims(self.scale * (far - cosine), -1)
        return ops.logsumexp(logits, axis=-1) - ops.sum(own * logits, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().get_config() | {"margins": self.margins, "scale": self.scale}

"""Heads: from a trunk's features to logits. The loss and the service apply the softmax."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from landmark_ray.models.layers import Cosine
from landmark_ray.models.specs import HeadKind


def build_head(
    features: int,
    classes: int,
    *,
    dropout: float = 0.2,
    kind: HeadKind = "linear",
    scale: float = 20.0,
    learn_scale: bool = False,
    products: str = "float32",
) -> keras.Model:
    """Build a classifier of features.

    Args:
        features: Dimension D of the features.
        classes: Number of classes, at least 1.
        dropout: Share of the features that is dropped in training.
        kind: "linear", or "cosine" for scaled cosines, which ignore the length of the features.
        scale: Factor of the cosines, if kind is "cosine".
        learn_scale: Whether training adjusts the scale, if kind is "cosine".
        products: Type in which features and weights are multiplied: "float32" or "bfloat16".
            The weights are float32.

    Returns:
        A model from [B, D] float32 to logits [B, classes] float32.

    Raises:
        ValueError: A number is out of range, or the kind is unknown.
    """
    for name, number in {"features": features, "classes": classes, "scale": scale}.items():
        if not number > 0:
            raise ValueError(f"head: {name} must be above 0, got {number}")
    if not 0 <= dropout < 1:
        raise ValueError(f"head: dropout must be at least 0 and below 1, got {dropout}")
    if kind not in ("linear", "cosine"):
        raise ValueError(f"head: kind must be linear or cosine, got {kind!r}")
    inputs = x = keras.Input((int(features),), dtype="float32", name="features")
    if dropout:
        x = keras.layers.Dropout(dropout, dtype="float32", name="dropout")(x)
    policy = "float32" if products == "float32" else f"mixed_{products}"
    if kind == "cosine":
        x = Cosine(int(classes), scale, learn_scale, name="logits", dtype=policy)(x)
    else:
        x = keras.layers.Dense(int(classes), dtype=policy, name="logits")(x)
    return keras.Model(inputs, x, name="head")


CHUNK = 65_536
"""Vectors that `class_means` converts to float32 at a time."""


def class_means(x: NDArray[Any], y: NDArray[np.int32], classes: int) -> NDArray[np.float32]:
    """Return the unit means [C, D] of unit vectors [N, D]; zeros for classes without vectors."""
    sums = ops.zeros((classes, x.shape[1]), "float32")
    for start in range(0, len(x), CHUNK):
        rows = slice(start, start + CHUNK)
        unit = ops.normalize(ops.cast(ops.convert_to_tensor(x[rows]), "float32"), axis=-1)
        sums = sums + ops.segment_sum(unit, ops.convert_to_tensor(y[rows]), classes)
    means: NDArray[np.float32] = ops.convert_to_numpy(ops.normalize(sums, axis=-1))
    return means


def start_at_means(head: keras.Model, x: NDArray[Any], y: NDArray[np.int32], scale: float) -> None:
    """Let the weights of each class of a head be the mean of its vectors.

    A cosine head is then a nearest-mean classifier. So is a linear one, for vectors of equal
    length: its logits are `scale` times the cosines. Classes without vectors keep their weights.

    Args:
        head: From `build_head`.
        x: [N, D] vectors.
        y: [N] number of the class of each.
        scale: Factor of the cosines in the logits of a linear head.
    """
    layer = head.get_layer("logits")
    kernel = ops.convert_to_numpy(layer.kernel)
    means = class_means(x, y, kernel.shape[1]).T
    if not isinstance(layer, Cosine) and len(x):
        means = means * scale / np.linalg.norm(x[:CHUNK].astype(np.float32), axis=1).mean()
    layer.kernel.assign(np.where(means.any(axis=0), means, kernel))

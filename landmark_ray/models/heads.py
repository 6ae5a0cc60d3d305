"""Heads: from a trunk's features to logits. The loss and the service apply the softmax."""

import keras

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
) -> keras.Model:
    """Build a classifier of features.

    Args:
        features: Dimension D of the features.
        classes: Number of classes, at least 1.
        dropout: Share of the features that is dropped in training.
        kind: "linear", or "cosine" for scaled cosines, which ignore the length of the features.
        scale: Factor of the cosines, if kind is "cosine".
        learn_scale: Whether training adjusts the scale, if kind is "cosine".

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
    if kind == "cosine":
        x = Cosine(int(classes), scale, learn_scale, name="logits")(x)
    else:
        x = keras.layers.Dense(int(classes), dtype="float32", name="logits")(x)
    return keras.Model(inputs, x, name="head")

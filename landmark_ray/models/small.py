"""`small`: a residual network for a few classes that trains from scratch on a CPU in a minute."""

import keras
from keras import layers

WIDTHS = (32, 64, 128, 192)
"""Channels after the stem and after each residual block; each block halves the feature map."""


def small_network(size: int) -> keras.Model:
    """Build a network from [B, size, size, 3] in -1..1 to maps [B, size / 32, size / 32, 192]."""
    inputs = keras.Input((size, size, 3), name="pixels")
    x = layers.Conv2D(WIDTHS[0], 5, strides=4, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(_normalised(x))
    for width in WIDTHS[1:]:
        x = _residual(x, width)
    return keras.Model(inputs, x, name="small_network")


def _normalised(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.BatchNormalization(momentum=0.9)(x)


def _residual(x: keras.KerasTensor, width: int) -> keras.KerasTensor:
    y = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False)(x)
    y = layers.ReLU()(_normalised(y))
    y = _normalised(layers.Conv2D(width, 3, padding="same", use_bias=False)(y))
    x = layers.AveragePooling2D(2, padding="same")(x)
    x = _normalised(layers.Conv2D(width, 1, use_bias=False)(x))
    return layers.ReLU()(layers.Add()([x, y]))

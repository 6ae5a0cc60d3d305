"""Layers that Keras lacks. All are registered, so that saved models find them once this is loaded.

They compute in float32 whatever the global policy: pixels up to 255 and cosines of near-equal
vectors lose their last digits in 16 bits.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

Tensor = Any
"""A tensor of Keras's backend, or a symbolic one."""

register: Callable[..., Any] = keras.saving.register_keras_serializable(package="landmark_ray")


@register
class Preprocess(keras.layers.Layer):  # type: ignore[misc]
    """What a network expects for pixels: the channels' order, scales and offsets.

    Input [B, H, W, 3] RGB in 0..255; output of the same shape, float32.
    """

    def __init__(
        self,
        *,
        kind: str,
        order: Sequence[int],
        scale: Sequence[float],
        offset: Sequence[float],
        **kwargs: Any,
    ) -> None:
        """Output channel i is input channel `order[i]` times `scale[i]` plus `offset[i]`.

        Args:
            kind: a name for it, as bundles record.
            order: [3] 0, 1, 2 for RGB, 2, 1, 0 for BGR.
            scale: [3].
            offset: [3].
            **kwargs: of every Keras layer.
        """
        super().__init__(**{"name": "preprocess", "dtype": "float32"} | kwargs)
        self.kind = kind
        self.order = [int(i) for i in order]
        self.scale = [float(s) for s in scale]
        self.offset = [float(o) for o in offset]

    @classmethod
    def like(cls, preprocess_input: Callable[..., Any]) -> "Preprocess":
        """The layer that does what a `preprocess_input` of keras.applications does.

        It is found by probing: such a function is affine, and mixes no channels.

        Raises:
            ValueError: the function isn't of this kind.
        """

        def probe(pixel: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.array(preprocess_input(pixel.astype(np.float32)[None, None]), float)[0, 0]

        offset = probe(np.zeros(3))
        columns = np.array([probe(255 * one) - offset for one in np.eye(3)]).T / 255
        order = np.abs(columns).argmax(axis=1)
        scale = columns[range(3), order]
        some = np.array([12.0, 250.0, 99.0])
        if not np.allclose(probe(some), some[order] * scale + offset, atol=1e-3):
            raise ValueError(f"{preprocess_input} isn't affine in each channel")
        kind = _kind(order.tolist(), offset.tolist())
        return cls(kind=kind, order=order.tolist(), scale=scale.tolist(), offset=offset.tolist())

    def call(self, images: Tensor) -> Tensor:
        """Transform the pixels."""
        if self.order != [0, 1, 2]:
            images = ops.take(images, self.order, axis=-1)
        return images * np.array(self.scale, np.float32) + np.array(self.offset, np.float32)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The input's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        own = {"kind": self.kind, "order": self.order, "scale": self.scale, "offset": self.offset}
        return super().get_config() | own


def _kind(order: list[int], offset: list[float]) -> str:
    """Keras's name of a way to preprocess."""
    if order == [2, 1, 0]:
        return "caffe"
    if not any(offset):
        return "none"
    return "tf" if offset == [-1, -1, -1] else "torch"


@register
class Resize(keras.layers.Layer):  # type: ignore[misc]
    """Bilinear resizing: [B, H, W, C] to [B, size, size, C] float32.

    Not keras.layers.Resizing: its call has training=True for a default, and a model that is called
    without the argument hands this on to all layers after it, BatchNorm among them (Keras 3.15).
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        """size: width and height of the result, in pixels."""
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.size = size

    def call(self, images: Tensor) -> Tensor:
        """Resize the images."""
        return ops.image.resize(images, (self.size, self.size))

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """[B, size, size, C]."""
        return (input_shape[0], self.size, self.size, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return super().get_config() | {"size": self.size}


@register
class InferenceMode(keras.layers.Wrapper):  # type: ignore[misc]
    """A model that stays in inference mode: dropout is off, BatchNorm keeps its statistics.

    `model(x, training=False)` doesn't do this in a functional model: in Keras 3.15 the training
    argument of the outer model takes its place.
    """

    def __init__(self, layer: keras.Model, **kwargs: Any) -> None:
        """layer: the model; of its variables, those that are trainable still learn."""
        super().__init__(layer, **{"name": f"inference_{layer.name}", "dtype": "float32"} | kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        """The model's outputs."""
        return self.layer(inputs, training=False)


@register
class GeneralisedMean(keras.layers.Layer):  # type: ignore[misc]
    """GeM pooling (Radenovic, Tolias and Chum 2018, section 3.2): (mean of x^p)^(1/p).

    Input [B, H, W, D], of which negative values count as 0; output [B, D] float32. p = 1 is the
    mean, a large p nears the maximum.
    """

    def __init__(self, p: float = 3.0, **kwargs: Any) -> None:
        """p: the exponent, fixed."""
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.p = p

    def call(self, maps: Tensor) -> Tensor:
        """Pool over H and W."""
        powers = ops.maximum(maps, 1e-6) ** self.p
        return ops.mean(powers, axis=(1, 2)) ** (1 / self.p)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """[B, D]."""
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return super().get_config() | {"p": self.p}


@register
class Cosine(keras.layers.Layer):  # type: ignore[misc]
    """Scaled cosines between features and a weight vector of each class.

    Input [B, D]; output [B, classes] float32 in -scale..scale.
    """

    def __init__(
        self, classes: int, scale: float = 20.0, learn_scale: bool = False, **kwargs: Any
    ) -> None:
        """Settings.

        Args:
            classes: number of classes.
            scale: what the cosines are multiplied by; at 20, 1000 classes can be told apart with
                a probability near 1 (Wang et al. 2017, NormFace, section 3.3).
            learn_scale: adjust the scale in training.
            **kwargs: of every Keras layer.
        """
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.classes = classes
        self.initial_scale = scale
        self.learn_scale = learn_scale

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Make the weights."""
        shape = (input_shape[-1], self.classes)
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")
        self.scale = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self.initial_scale),
            trainable=self.learn_scale,
            name="scale",
        )

    def call(self, features: Tensor) -> Tensor:
        """Logits of the features."""
        unit = ops.normalize(features, axis=-1)
        return self.scale * ops.matmul(unit, ops.normalize(self.kernel, axis=0))

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """[B, classes]."""
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        own = {
            "classes": self.classes,
            "scale": self.initial_scale,
            "learn_scale": self.learn_scale,
        }
        return super().get_config() | own

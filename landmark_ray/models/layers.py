"""Layers that Keras lacks. They are registered, so saved models find them after this import.

They compute in float32 under any global policy, because pixels up to 255 and cosines of nearly
equal vectors lose their last digits in 16 bits.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

Tensor = Any
"""A tensor of Keras's backend, or a symbolic tensor."""

LEAST_P = 0.1
"""Smallest exponent that pooling can learn; the mean, 1, may be left in both directions."""

register: Callable[..., Any] = keras.saving.register_keras_serializable(package="landmark_ray")


@register
class Preprocess(keras.layers.Layer):  # type: ignore[misc]
    """The preprocessing of a network: order, scale and offset of the channels.

    The input is [B, H, W, 3] RGB in 0..255; the output has the same shape, in float32.
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
        """Map input channel `order[i]`, times `scale[i]`, plus `offset[i]`, to output channel i.

        Args:
            kind: Name of the preprocessing, which bundles record.
            order: [3] input channels; 0, 1, 2 for RGB, and 2, 1, 0 for BGR.
            scale: [3] factors.
            offset: [3] summands.
            **kwargs: Arguments of every Keras layer.
        """
        super().__init__(**{"name": "preprocess", "dtype": "float32"} | kwargs)
        self.kind = kind
        self.order = [int(i) for i in order]
        self.scale = [float(s) for s in scale]
        self.offset = [float(o) for o in offset]

    @classmethod
    def like(cls, preprocess_input: Callable[..., Any]) -> "Preprocess":
        """Make the layer that does the same as a `preprocess_input` of keras.applications.

        Such a function is affine and does not mix channels, so a few probes determine it.

        Raises:
            ValueError: The function is not of this kind.
        """

        def probe(pixel: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.array(preprocess_input(pixel.astype(np.float32)[None, None]), float)[0, 0]

        offset = probe(np.zeros(3))
        columns = np.array([probe(255 * one) - offset for one in np.eye(3)]).T / 255
        order = np.abs(columns).argmax(axis=1)
        scale = columns[range(3), order]
        pixel = np.array([12.0, 250.0, 99.0])
        if not np.allclose(probe(pixel), pixel[order] * scale + offset, atol=1e-3):
            raise ValueError(f"{preprocess_input} isn't affine in each channel")
        kind = _kind(order.tolist(), offset.tolist())
        return cls(kind=kind, order=order.tolist(), scale=scale.tolist(), offset=offset.tolist())

    def call(self, images: Tensor) -> Tensor:
        """Transform the pixels."""
        if self.order != [0, 1, 2]:
            images = ops.take(images, self.order, axis=-1)
        return images * np.array(self.scale, np.float32) + np.array(self.offset, np.float32)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().get_config() | {
            "kind": self.kind,
            "order": self.order,
            "scale": self.scale,
            "offset": self.offset,
        }


def _kind(order: list[int], offset: list[float]) -> str:
    """Return Keras's name for a preprocessing: caffe, none, tf or torch."""
    if order == [2, 1, 0]:
        return "caffe"
    if not any(offset):
        return "none"
    return "tf" if offset == [-1, -1, -1] else "torch"


@register
class Resize(keras.layers.Layer):  # type: ignore[misc]
    """Bilinear resizing from [B, H, W, C] to [B, size, size, C] float32.

    keras.layers.Resizing is not used, because the default of its call is training=True. A model
    that is called without the argument passes this on to all following layers, such as BatchNorm
    (Keras 3.15).
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        """Resize to a width and height of `size` pixels."""
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.size = size

    def call(self, images: Tensor) -> Tensor:
        """Resize the images."""
        return ops.image.resize(images, (self.size, self.size))

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return [B, size, size, C]."""
        return (input_shape[0], self.size, self.size, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().get_config() | {"size": self.size}


@register
class Rescale(keras.layers.Layer):  # type: ignore[misc]
    """Resizing of parts of photos of `input_size` pixels as trunks resize these to `size` pixels.

    The input is [B, H, W, 3], with sides up to `input_size`; the output is [B, h, w, 3] float32,
    where both sides are multiplied by size / input_size.
    """

    def __init__(self, input_size: int, size: int, **kwargs: Any) -> None:
        """Set the sides of the whole photo, in pixels, before and after."""
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.input_size, self.size = input_size, size

    def call(self, images: Tensor) -> Tensor:
        """Reduce by whole factors with means, then bilinearly."""
        from landmark_ray.models.backend import resize  # that module imports this one

        sides = [self._scaled(side) for side in ops.shape(images)[1:3]]
        factor = self.input_size // self.size
        if factor > 1:
            images = ops.average_pool(images, factor, strides=factor)
        if self.input_size != max(factor, 1) * self.size:
            images = resize(images, sides)
        return images

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return [B, h, w, 3], where sides may be unknown."""
        batch, *sides, channels = input_shape
        return (batch, *(side and self._scaled(side) for side in sides), channels)

    def _scaled(self, side: Any) -> Any:
        """Return a side in pixels, a number or a tensor, as it is after the resizing."""
        if self.input_size % self.size == 0:
            return side // (self.input_size // self.size)
        return (side * self.size + self.input_size // 2) // self.input_size

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().get_config() | {"input_size": self.input_size, "size": self.size}


@register
class InferenceMode(keras.layers.Wrapper):  # type: ignore[misc]
    """A model that stays in inference mode: dropout is off, BatchNorm keeps its statistics.

    `model(x, training=False)` does not do this inside a functional model: in Keras 3.15, the
    training argument of the outer model replaces it.
    """

    def __init__(self, layer: keras.Model, **kwargs: Any) -> None:
        """Wrap a model; those of its variables that are trainable still learn."""
        super().__init__(layer, **{"name": f"inference_{layer.name}", "dtype": "float32"} | kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        """Return the outputs of the model."""
        return self.layer(inputs, training=False)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the outputs, without a call on photos of some made-up size."""
        return self.layer.compute_output_shape(input_shape)


@register
class GeneralisedMean(keras.layers.Layer):  # type: ignore[misc]
    """GeM pooling (Radenovic, Tolias and Chum 2018, section 3.2): (mean of x^p)^(1/p).

    The input is [B, H, W, D], where negative values count as 0, or keep their sign; the output is
    [B, D] float32. p = 1 is the mean, and a large p approaches the maximum.
    """

    def __init__(
        self, p: float = 3.0, learn_p: bool = False, signed: bool = False, **kwargs: Any
    ) -> None:
        """Set the exponent `p`, and whether training adjusts it; `signed` keeps signs.

        Maps after a ReLU have no negative values; of those after LayerNorm half are.
        """
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.p, self.learn_p, self.signed = p, learn_p, signed

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Make the exponent a weight, if it is learned."""
        if self.learn_p:
            self.exponent = self.add_weight(
                shape=(), initializer=keras.initializers.Constant(self.p), name="scale"
            )

    def call(self, maps: Tensor) -> Tensor:
        """Pool over H and W."""
        p = ops.maximum(self.exponent, LEAST_P) if self.learn_p else self.p
        if not self.signed:
            return ops.mean(ops.maximum(maps, 1e-6) ** p, axis=(1, 2)) ** (1 / p)
        mean = ops.mean(ops.sign(maps) * ops.maximum(ops.abs(maps), 1e-6) ** p, axis=(1, 2))
        return ops.sign(mean) * ops.maximum(ops.abs(mean), 1e-6) ** (1 / p)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return [B, D]."""
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {"p": self.p, "learn_p": self.learn_p, "signed": self.signed}
        return super().get_config() | own


@register
class Cosine(keras.layers.Layer):  # type: ignore[misc]
    """Scaled cosines between features and a weight vector of each class.

    The input is [B, D]; the output is [B, classes] float32 in -scale..scale. Only the products are
    in 16 bits if the policy of the layer is mixed.
    """

    def __init__(
        self, classes: int, scale: float = 20.0, learn_scale: bool = False, **kwargs: Any
    ) -> None:
        """Set the size and the scale.

        Args:
            classes: Number of classes.
            scale: Factor of the cosines. With 20, the probability of one in 1000 classes can come
                near 1 (Wang et al. 2017, NormFace, section 3.3).
            learn_scale: Whether training adjusts the scale.
            **kwargs: Arguments of every Keras layer.
        """
        super().__init__(**{"dtype": "float32", "autocast": False} | kwargs)
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
        """Compute the logits [B, classes] of features [B, D]."""
        unit = ops.cast(ops.normalize(features, axis=-1), self.compute_dtype)
        kernel = ops.cast(ops.normalize(self.kernel, axis=0), self.compute_dtype)
        return self.scale * ops.cast(ops.matmul(unit, kernel), "float32")

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return [B, classes]."""
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().get_config() | {
            "classes": self.classes,
            "scale": self.initial_scale,
            "learn_scale": self.learn_scale,
        }

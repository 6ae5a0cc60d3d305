"""What TensorFlow and JAX do in different ways: devices, compilation and gradients."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, cast

import keras
from keras import ops
from numpy.typing import NDArray

from landmark_ray.models.layers import Tensor
from landmark_ray.models.specs import Precision


def on_gpu() -> bool:
    """Return whether networks compute on a GPU here, which `keras.device("cpu")` prevents."""
    device = ops.zeros(()).device
    return "gpu" in str(getattr(device, "platform", device)).lower()


def side_by_side(devices: Sequence[str]) -> AbstractContextManager[Any]:
    """Return the context in which a network must be built and trained to use several devices.

    Each device gets a part of each batch.

    Args:
        devices: Names of `keras.distribution.list_devices`.
    """
    if len(devices) < 2:
        return nullcontext()
    if keras.backend.backend() == "jax":
        parts = keras.distribution.DataParallel(devices=devices)
        return cast(AbstractContextManager[Any], parts.scope())
    _check_tensorflow()
    return cast(AbstractContextManager[Any], _strategy(tuple(devices)).scope())


@cache
def _strategy(devices: tuple[str, ...]) -> Any:
    """Return the strategy of TensorFlow for some devices, which is the same for a whole process.

    Each strategy numbers what its devices exchange, from 100 on. TensorFlow keeps the shapes, and
    refuses the exchange of another shape under a number that it knows: a second strategy could not
    train a network of other sizes.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices)


def dividing(devices: Sequence[str], batch: int) -> Sequence[str]:
    """Return as many of the devices as can share a batch: with JAX, each takes an equal part."""
    if keras.backend.backend() != "jax":
        return devices
    counts = [n for n in range(1, len(devices) + 1) if batch % n == 0]
    return devices[: max(counts, default=0)]


def pays_to_compile(model: keras.Model) -> bool | str:
    """Return whether XLA compiles the training steps of a model, as `Model.compile` expects it.

    It does not compile networks for TensorFlow on a CPU, which would take minutes, and where a step
    of a network with depthwise convolutions takes ten times as long.
    """
    takes_photos = len(model.input_shape) == 4
    on_cpu = keras.backend.backend() == "tensorflow" and not on_gpu()
    return False if takes_photos and on_cpu else "auto"


def in_16_bits(precision: Precision) -> bool:
    """Return whether networks of a precision compute in 16 bits on the device."""
    return precision == "mixed" or (precision == "auto" and on_gpu())


def has_fixed_shapes() -> bool:
    """Return whether `jit` compiles a function anew for each set of shapes."""
    return keras.backend.backend() == "jax" or on_gpu()


def of_any_shape(batches: Iterator[tuple[NDArray[Any], ...]]) -> Any:
    """Return batches as `Model.fit` takes them where the shape of photos changes between them.

    For TensorFlow, Keras takes the shape of all batches from the first two.

    Args:
        batches: One batch or more of photos [B, H, W, 3] and other arrays.
    """
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf

    first = next(batches)
    shapes = [(None, None, None, 3) if a.ndim == 4 else (None, *a.shape[1:]) for a in first]
    kinds = tuple(tf.TensorSpec(s, a.dtype) for s, a in zip(shapes, first, strict=True))
    dataset = tf.data.Dataset.from_generator(
        lambda: itertools.chain([first], batches), output_signature=kinds
    )
    return dataset.prefetch(tf.data.AUTOTUNE)


def resize(images: Tensor, sides: Sequence[Any]) -> Tensor:
    """Resize images [B, H, W, C] bilinearly as `ops.image.resize` does, even to unknown sides.

    Args:
        images: The images, in float32.
        sides: Their height and width afterwards; TensorFlow's may be tensors, which Keras refuses.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.image.resize(images, sides)
    import tensorflow as tf

    return tf.image.resize(images, sides)


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of tensors that is compiled once for each set of shapes, or for all.

    XLA compiles it for each, except for TensorFlow on a CPU, whose graph runs the loop of a head
    30 times as fast as its XLA (2.21, two cores, 10 classes).

    Raises:
        ValueError: Keras's backend is neither TensorFlow nor JAX.
    """
    if has_fixed_shapes():
        return xla(function)
    _check_tensorflow()
    import tensorflow as tf

    return tf.function(function, reduce_retracing=True)


def xla(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of tensors that XLA compiles once for each set of shapes.

    Raises:
        ValueError: Keras's backend is neither TensorFlow nor JAX.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    _check_tensorflow()
    import tensorflow as tf

    return tf.function(function, jit_compile=True, reduce_retracing=True)


def value_and_grad(
    function: Callable[[list[Tensor]], tuple[Tensor, Any]], variables: Sequence[Tensor]
) -> tuple[tuple[Tensor, Any], list[Tensor]]:
    """Return the value of a function and its gradients for a list of tensors.

    Args:
        function: From the tensors to (loss [], anything else).
        variables: The tensors.

    Returns:
        ((loss, anything else), gradients).
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.value_and_grad(function, has_aux=True)(list(variables))
    _check_tensorflow()
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(list(variables))
        loss, more = function(list(variables))
    return (loss, more), tape.gradient(loss, list(variables))


def _check_tensorflow() -> None:
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"KERAS_BACKEND must be tensorflow or jax to train, got {keras.backend.backend()}"
        )

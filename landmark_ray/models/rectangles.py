"""Trunks that take rectangles of any proportions in a training, and squares ever after."""

from typing import Any

import keras
from keras import ops

from landmark_ray.errors import UserError
from landmark_ray.kernels.proportions import rectangles
from landmark_ray.models import hub, metric
from landmark_ray.models.layers import Rescale
from landmark_ray.models.networks import describe


def for_rectangles(trunk: keras.Model) -> keras.Model:
    """Return a trunk that takes rectangles as well, and makes the same vectors of squares.

    Args:
        trunk: A trunk of `build_trunk`, or of `metric.with_embedding`.

    Returns:
        A trunk with the same weights, from photos [B, H, W, 3] that are parts of those that the
        trunk takes. It resizes both of their sides as the trunk does.

    Raises:
        UserError: The network takes squares only, or can't have one of `rectangles`.
    """
    info = describe(trunk)
    inputs = x = keras.Input((None, None, 3), dtype="float32", name="photos")
    x = Rescale(info.input_size, info.size, name="rescale")(x)
    kept = [layer for layer in trunk.layers[1:] if layer.name not in ("reduce", "resize")]
    for layer in kept:
        if isinstance(layer, keras.Model):
            x = hub.features(_of_any_shape(layer, info.network), x)
        else:
            x = type(layer).from_config(layer.get_config())(x)
    other = keras.Model(inputs, x, name=trunk.name)
    for high, wide in rectangles(info.input_size).tolist():
        try:
            other.compute_output_shape((1, high, wide, 3))
        except ValueError as error:
            raise _refusal(info.network, f"can't see {wide} x {high} pixels") from error
    copy_weights(trunk, other)
    return other


def for_squares(trunk: keras.Model) -> keras.Model:
    """Return a trunk for squares alone, as bundles have it, with the weights of one for both."""
    other = metric.rebuilt(describe(trunk))
    copy_weights(trunk, other)
    return other


def takes_rectangles(network: keras.Model) -> bool:
    """Tell whether a trunk, or a classifier of it, is one of `for_rectangles`."""
    return network.input_shape[1] is None


def copy_weights(model: keras.Model, to: keras.Model) -> None:
    """Copy all variables, states of random numbers included, to a model of the same layers."""
    for old, new in zip(model.variables, to.variables, strict=True):
        new.assign(ops.convert_to_numpy(old))
    for layer in to._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):  # EfficientNet's
            layer.finalize_state()  # it computes with copies of its weights


def _of_any_shape(network: keras.Model, name: str) -> Any:
    """Return a new network of the same layers that takes photos of any shape.

    A new one that `keras.applications` builds for any shape would pad as if all maps had even
    sides, and so differ from the trunk where a side is odd.

    Raises:
        UserError: It takes photos of one size only.
    """
    if not hub.is_backbone(network):
        return keras.models.clone_model(network, input_tensors=keras.Input((None, None, 3)))
    maps = len(network.outputs) > 1 or len(network.outputs[0].shape) == 4
    if network.inputs[0].shape[1] is not None or not maps:
        raise _refusal(name, "takes squares of one size only")
    return type(network).from_config(network.get_config())


def _refusal(name: str, problem: str) -> UserError:
    return UserError(f"network {name} {problem}: leave --train.metric_proportions out")

"""Trunks, which compute a feature vector of each photo.

Their networks are those of keras.applications, `small`, and image networks of keras-hub (`hub`).

A trunk contains the preprocessing and resizing of its network, so training and serving cannot
differ in these.
"""

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
from keras import layers

from landmark_ray.errors import UserError, shortened
from landmark_ray.models import hub
from landmark_ray.models.layers import GeneralisedMean, Preprocess, Rescale, Resize
from landmark_ray.models.small import small_network
from landmark_ray.models.specs import (
    EMBEDDING,
    HUB,
    MIN_SIZE,
    SIZES,
    SMALL,
    Backbone,
    Pooling,
    TrunkInfo,
    is_preset,
    network_name,
    normalise_name,
)

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's RGB in 0..1."""


def build_trunk(
    name: str,
    *,
    weights: str | Path | None,
    size: int | None = None,
    input_size: int | None = None,
    pooling: Pooling = "avg",
    backbone: Backbone | None = None,
) -> keras.Model:
    """Build a network without its top layers, from pixels to features.

    Args:
        name: A name of `specs.SIZES`, in any spelling, or `hub:FOLDER`.
        weights: "imagenet" (Keras downloads them; of a preset, its own), None for random weights,
            or a file: `*.weights.h5` of `save_trunk` or of the network's include_top=False model in
            keras.applications, or a `*.h5` that Keras offers for download.
        size: Width and height at which the network works, in pixels; by default its own size, or
            near `input_size` if the network of a preset takes any size.
        input_size: Width and height of the photos, in pixels, if it is not `size`; the trunk
            resizes them.
        pooling: "avg", "max" or "gem" (p = 3).
        backbone: Of a trunk of keras-hub, what `describe` returned; its folder isn't read then.

    Returns:
        A model from [B, input_size, input_size, 3] RGB in 0..255 to [B, D] float32. It also takes
        uint8. Its variables are float32 under any policy.

    Raises:
        UserError: The network is unknown, cannot have this size, or its weights cannot be loaded.
        ValueError: The pooling is unknown.
    """
    if pooling not in get_args(Pooling):
        raise ValueError(f"pooling must be one of {get_args(Pooling)}, got {pooling!r}")
    name = network_name(name)
    least = min(side for side in (size, input_size, MIN_SIZE) if side is not None)
    if least < MIN_SIZE:
        raise UserError(f"network {name}: size must be {MIN_SIZE} pixels or more, got {least}")
    model, preprocess, size = _backbone(name, weights, size, input_size, backbone)
    input_size = size if input_size is None else input_size
    inputs = keras.Input((input_size, input_size, 3), dtype="float32", name="photos")
    features = hub.features(model, preprocess(_resized(inputs, size)))
    title = type(model).__name__ if is_preset(name) else name
    return keras.Model(inputs, _pooled(model, features, size, pooling), name=title)


def save_trunk(trunk: keras.Model, path: str | Path) -> None:
    """Write the weights of a trunk, for `build_trunk(..., weights=path)`.

    Args:
        trunk: A trunk of `build_trunk`, or of `metric.with_embedding`.
        path: `*.weights.h5`. Without an embedding, it also fits the network in keras.applications.
    """
    hub.keep_positions(trunk)
    _stored(trunk).save_weights(path, overwrite=True)


def load_weights(trunk: keras.Model, name: str, path: str | Path) -> None:
    """Load the weights of a trunk of the network `name`, all of them, as `save_trunk` wrote them.

    Raises:
        UserError: The file is missing or damaged, or belongs to another network.
    """
    _load(_stored(trunk), name, Path(path))


def describe(trunk: keras.Model) -> TrunkInfo:
    """Return what a bundle records about a trunk."""
    preprocess = trunk.get_layer("preprocess")
    backbone = hub.describe(_inner(trunk), preprocess)
    pooling = next(layer for layer in reversed(trunk.layers) if layer.name.endswith("_pooling"))
    input_size, size = trunk.input_shape[1], preprocess.output.shape[1]
    for rescale in (layer for layer in trunk.layers if isinstance(layer, Rescale)):
        input_size, size = rescale.input_size, rescale.size
    return TrunkInfo(
        network=HUB + backbone.kind if backbone else trunk.name,
        input_size=input_size,
        size=size,
        preprocessing=preprocess.kind,
        pooling=pooling.name.removesuffix("_pooling"),
        features=trunk.output_shape[-1],
        backbone=backbone,
        embedding=trunk.layers[-1].name == EMBEDDING,
        signed=getattr(pooling, "signed", False),
    )


def constructors() -> dict[str, Callable[..., keras.Model]]:
    """Return the constructor of every network of keras.applications by its normalised name."""
    members = vars(keras.applications).items()
    return {normalise_name(name): value for name, value in members if inspect.isfunction(value)}


def module_of(constructor: Callable[..., keras.Model]) -> Any:
    """Return the module of a network of keras.applications, which holds `preprocess_input`."""
    return inspect.getmodule(constructor)


def _stored(trunk: keras.Model) -> keras.Model:
    """Return the part of a trunk whose weights are stored: its network, or all if it embeds."""
    return trunk if trunk.layers[-1].name == EMBEDDING else _inner(trunk)


def _inner(trunk: keras.Model) -> keras.Model:
    return next(layer for layer in trunk.layers if isinstance(layer, keras.Model))


def _pooled(model: keras.Model, features: Any, size: int, pooling: Pooling) -> Any:
    """Return the vector [B, D] of the output of a network, which may have pooled it already."""
    rank, name = len(features.shape), f"{pooling}_pooling"
    if rank == 2 and pooling == "avg":
        return layers.Identity(dtype="float32", name=name)(features)
    if rank == 2:
        raise UserError(
            f"network {type(model).__name__} pools by itself: --train.pooling must be avg"
        )
    if rank == 3:
        prefix = hub.prefix_tokens(model, features, size)
        if prefix and pooling == "avg":
            return hub.ClassToken(dtype="float32", name=name)(features)
        features = hub.PatchTokens(prefix, name="patch_tokens")(features)
    return _pool(pooling)(features)


def _pool(pooling: Pooling) -> layers.Layer:
    kinds = {
        "avg": layers.GlobalAveragePooling2D,
        "max": layers.GlobalMaxPooling2D,
        "gem": GeneralisedMean,
    }
    return kinds[pooling](dtype="float32", name=f"{pooling}_pooling")


def _resized(images: Any, size: int) -> Any:
    """Reduce by whole factors with means, then bilinearly; every runtime has these operations."""
    factor = images.shape[1] // size
    if factor > 1:
        images = layers.AveragePooling2D(factor, dtype="float32", name="reduce")(images)
    if images.shape[1] != size:
        images = Resize(size, name="resize")(images)
    return images


def _backbone(
    name: str,
    weights: str | Path | None,
    size: int | None,
    input_size: int | None,
    recorded: Backbone | None,
) -> tuple[keras.Model, Preprocess, int]:
    """Return a network (see `hub.features`), its preprocessing, and its width and height."""
    pretrained = weights == "imagenet"
    if recorded and size:
        model, preprocess = hub.rebuild(name, recorded)
    elif is_preset(name):
        model, preprocess, size = hub.load(
            name, weights=pretrained, size=size, input_size=input_size
        )
    else:
        size = size or SIZES[name]
        model, preprocess = _keras_network(name, "imagenet" if pretrained else None, size)
    if weights is not None and weights != "imagenet":
        _load(model, name, Path(weights))
    return model, preprocess, size


def _keras_network(name: str, weights: str | None, size: int) -> tuple[keras.Model, Preprocess]:
    """Return a network of `SIZES` to [B, h, w, D], with weights None or imagenet."""
    if name == SMALL:
        if weights:
            raise UserError(f"network {SMALL} has no imagenet weights: train it from scratch")
        return small_network(size), Preprocess.like(_minus_one_to_one)
    constructor = constructors()[normalise_name(name)]
    preprocess = Preprocess.like(module_of(constructor).preprocess_input)
    if name.startswith("efficientnet_b") and not weights:
        preprocess = _efficientnet_preprocess()
    return _construct(name, constructor, weights, size), preprocess


def _construct(
    name: str, constructor: Callable[..., keras.Model], weights: str | None, size: int
) -> keras.Model:
    try:
        return constructor(include_top=False, weights=weights, input_shape=(size, size, 3))
    except ValueError as error:  # a size that it can't have, but also an incomplete download
        with_weights = f" with {weights} weights" if weights else ""
        raise UserError(
            f"network {name}{with_weights} can't be built at {size} pixels: {shortened(error)}"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # Keras raises a bare Exception when a download fails
        if weights is None:
            raise
        raise UserError(
            f"network {name}: its {weights} weights can't be downloaded ({shortened(error)}); "
            "give a file of weights, or none"
        ) from error


def _load(model: keras.Model, name: str, path: Path) -> None:
    misfit = (
        f"network {name}: the weights in {path} don't fit: they belong to another network, or to "
        "one with its top layers"
    )
    if not path.is_file():
        raise UserError(f"network {name}: there is no file of weights {path}")
    if path.suffix != ".h5":
        raise UserError(f"network {name}: weights must be in a file *.weights.h5 or *.h5: {path}")
    unset = [v for v in model.variables if keras.backend.is_float_dtype(v.dtype)]
    for variable in unset:  # Keras may silently skip variables, which then keep this mark
        variable.assign(np.full(variable.shape, np.nan, "float32"))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipping nested container")  # files of older Keras
            model.load_weights(path)
    except ValueError as error:
        raise UserError(f"{misfit} ({shortened(error)})") from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can make h5py raise anything
        raise UserError(f"network {name}: {path} is damaged: {shortened(error)}") from error
    missing = [v.path for v in unset if not np.isfinite(keras.ops.convert_to_numpy(v)).all()]
    if missing:
        raise UserError(f"{misfit} ({len(missing)} arrays lack finite values, as {missing[0]})")


def _minus_one_to_one(images: Any) -> Any:
    return images / 127.5 - 1.0


def _efficientnet_preprocess() -> Preprocess:
    """Return a preprocessing that corrects EfficientNet (first version) with weights from a file.

    The file of its weights holds standard deviations in place of variances. With
    weights="imagenet" only, Keras adds a layer after the normalisation inside the network, which
    corrects this (keras/src/applications/efficientnet.py). Without that layer, the network would
    see other pixels than in its training. This layer corrects the pixels before the normalisation:
    (x a + b - mean) / sqrt(std) = (x - mean) / std.
    """
    factor = [std**-0.5 for std in _STD]
    offset = [255 * mean * (1 - a) for mean, a in zip(_MEAN, factor, strict=True)]
    return Preprocess(kind="efficientnet", order=(0, 1, 2), scale=factor, offset=offset)

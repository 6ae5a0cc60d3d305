"""Networks of keras-hub: DINOv2, DINOv3, SigLIP 2, ViT, Swin and others, from a preset's folder.

A trunk is rebuilt without the folder: a `Backbone` records the class and the plain arguments of
its constructor.
"""

import json
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
from keras import layers, ops

from landmark_ray.errors import UserError, shortened
from landmark_ray.models import presets
from landmark_ray.models.layers import Preprocess, Tensor, register
from landmark_ray.models.specs import Backbone, preset_folder

OWN_SIZE = 224
"""Width and height of photos, in pixels, if neither the preset nor the caller gives them."""


@register
class ClassToken(layers.Layer):  # type: ignore[misc]
    """The first token [B, D] float32 of [B, N, D], which stands for the whole image."""

    def call(self, tokens: Tensor) -> Tensor:
        """Take the first token."""
        return ops.cast(tokens[:, 0], "float32")

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return [B, D]."""
        return (input_shape[0], input_shape[-1])


@register
class PatchTokens(layers.Layer):  # type: ignore[misc]
    """The tokens of the patches of an image, [B, N - prefix, 1, D], as if they were a map."""

    def __init__(self, prefix: int, **kwargs: Any) -> None:
        """Leave out the first `prefix` tokens, which belong to no patch."""
        super().__init__(**kwargs)
        self.prefix = prefix

    def call(self, tokens: Tensor) -> Tensor:
        """Take the tokens of the patches."""
        return tokens[:, self.prefix :, None]

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int | None, ...]:
        """Return [B, N - prefix, 1, D]."""
        batch, tokens, features = input_shape
        return (batch, tokens and tokens - self.prefix, 1, features)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().get_config() | {"prefix": self.prefix}


def load(
    name: str, *, weights: bool, size: int | None, input_size: int | None
) -> tuple[keras.Model, Preprocess, int]:
    """Build the image network of a preset.

    Args:
        name: `hub:FOLDER`.
        weights: Whether the network has the preset's weights; else they are random.
        size: Width and height at which it works, in pixels. When None: those of the preset, or for
            networks of any size the largest multiple of the patch within `input_size`.
        input_size: Width and height of the photos; unknown when None.

    Returns:
        The network, its preprocessing, and its width and height.

    Raises:
        UserError: keras-hub is missing, the folder is no preset of an image network or is damaged,
            or the network can't have this size.
    """
    config, hub = presets.config_of(name), presets.keras_hub(name)
    try:
        any_size = presets.has_any_size(config)
        if size is None and any_size:
            patch = presets.patch_of(config)
            size = (input_size or OWN_SIZE) // patch * patch or patch
        # DINOv2 interpolates its position embeddings while it reads weights, and only then
        shape = {"image_shape": (size, size, 3)} if any_size else {}
        folder = str(preset_folder(name))
        whole = hub.models.Backbone.from_preset(folder, load_weights=weights, **shape)
    except MemoryError:
        raise
    except Exception as error:  # keras-hub reads what there is, so a damaged file raises anything
        raise UserError(
            f"network {name}: keras-hub can't read the preset: {shortened(error)}"
        ) from error
    source = _image_part(name, whole)
    scale, offset = presets.scaling_of(name, hub)
    size = size or _side(source) or input_size or OWN_SIZE
    model = _build(name, hub, type(source), resized(_arguments(source), size))
    if weights:
        _copy(name, source, model, size)
    return model, _preprocess(scale, offset), size


def rebuild(network: str, backbone: Backbone) -> tuple[keras.Model, Preprocess]:
    """Build a network that a bundle describes, with random weights, and its preprocessing.

    No code of the description is run: the class is one of keras-hub's image networks, and its
    arguments are plain data.

    Raises:
        UserError: keras-hub is missing, or the description isn't one of `describe`.
    """
    hub = presets.keras_hub(network)
    kind = keras.saving.get_registered_object(f"keras_hub>{backbone.kind}")
    if not (isinstance(kind, type) and issubclass(kind, hub.models.Backbone)):
        raise UserError(f"network {network}: keras-hub {hub.__version__} has no {backbone.kind}")
    if not _is_plain(backbone.arguments):
        raise UserError(f"network {network}: its arguments aren't plain data")
    model = _build(network, hub, kind, backbone.arguments)
    return model, _preprocess(backbone.scale, backbone.offset)


def describe(model: keras.Model, preprocess: Preprocess) -> Backbone | None:
    """Return what a bundle needs to rebuild a network; None if it isn't one of keras-hub."""
    if not is_backbone(model):
        return None
    return Backbone(
        kind=type(model).__name__,
        arguments=_arguments(model),
        scale=preprocess.scale,
        offset=preprocess.offset,
    )


def is_backbone(model: keras.Model) -> bool:
    """Tell whether a network is one of keras-hub, without importing that."""
    return type(model).__module__.split(".")[0] == "keras_hub"


def features(model: keras.Model, images: Tensor) -> Tensor:
    """Call a network: images [B, size, size, 3] to maps [B, h, w, D], tokens [B, N, D], or [B, D].

    Some networks of keras-hub name their input, and HGNetV2 also its maps, one of each stage.
    """
    named = isinstance(model.input, dict)
    outputs = model({model.inputs[0].name: images} if named else images)
    return outputs[model.out_features[-1]] if isinstance(outputs, dict) else outputs


def prefix_tokens(model: keras.Model, tokens: Tensor, size: int) -> int:
    """Return how many of the tokens [B, N, D] belong to no patch: the class token and registers.

    Networks whose patches merge (Swin) have fewer tokens than patches, and none of these.
    """
    patch = _arguments(model).get("patch_size")
    patch = patch[0] if isinstance(patch, list | tuple) else patch
    return max(tokens.shape[1] - (size // patch) ** 2, 0) if patch else 0


def keep_positions(model: keras.Model) -> None:
    """Let a file of weights hold the position embeddings of DINOv2 as they were trained.

    keras-hub 0.32 saves those of the preset, and interpolates them again when they are read. It
    notices training by a sum of differences, which may be 0 or negative. Both have the same size
    here (`resized`), so the trained ones can take the place of the preset's.
    """
    for layer in model._flatten_layers():
        trained = getattr(layer, "interpolated_position_embeddings", None)
        if trained is not None and trained.shape == layer.position_embeddings.shape:
            layer.position_embeddings.assign(trained)


def register_classes_of(file: Path) -> None:
    """Import keras-hub if a file `*.keras` has networks of it, so that Keras finds their classes.

    Raises:
        UserError: keras-hub is missing.
        BadZipFile, KeyError: The file is damaged.
    """
    with zipfile.ZipFile(file) as archive:
        if b'"keras_hub>' in archive.read("config.json"):
            presets.keras_hub(file.name)


def _preprocess(scale: list[float], offset: list[float]) -> Preprocess:
    return Preprocess(kind="hub", order=(0, 1, 2), scale=scale, offset=offset)


def _image_part(name: str, whole: keras.Model) -> keras.Model:
    """Return the image network of a backbone, which may have one of texts beside it."""
    part = getattr(whole, "vision_encoder", None) or getattr(whole, "image_encoder", None) or whole
    shapes = [tensor.shape for tensor in part.inputs]
    if [(len(shape), shape[-1]) for shape in shapes] != [(4, 3)]:
        raise UserError(f"network {name}: {type(whole).__name__} is not a network of images")
    one = len(part.outputs) == 1 or hasattr(part, "out_features")
    if not one or len(part.outputs[0].shape) not in (2, 3, 4):
        raise UserError(f"network {name}: {type(whole).__name__} has outputs of another kind")
    return part


def _arguments(model: keras.Model) -> dict[str, Any]:
    """Return the plain arguments of a backbone's constructor; the precision is that of the use."""
    config = model.get_config()
    plain = {k: v for k, v in config.items() if k not in ("name", "trainable", "dtype")}
    arguments: dict[str, Any] = json.loads(json.dumps(plain))
    return arguments


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return "class_name" not in value and all(map(_is_plain, value.values()))
    return not isinstance(value, list) or all(map(_is_plain, value))


def _side(model: keras.Model) -> int | None:
    """Return the width and height of a network's photos, or None if it takes any."""
    return model.inputs[0].shape[1] or None


def resized(arguments: dict[str, Any], size: int) -> dict[str, Any]:
    """Return the arguments of the same network for another size of photos."""
    changed = dict(arguments)
    if (arguments.get("image_shape") or [None])[0]:
        changed["image_shape"] = [size, size, 3]
    if "position_embedding_shape" in arguments:  # so nothing is left to interpolate
        changed["position_embedding_shape"] = [size, size]
    return changed


def _build(
    name: str, hub: ModuleType, kind: type[keras.Model], arguments: dict[str, Any]
) -> keras.Model:
    shape, patch = arguments.get("image_shape"), arguments.get("patch_size")
    patch = patch[0] if isinstance(patch, list) else patch
    if shape and shape[0] and patch and shape[0] % patch:
        raise UserError(
            f"network {name}: {shape[0]} pixels are not a multiple of its patches of {patch} pixels"
        )
    try:
        return kind(**arguments, dtype=keras.config.dtype_policy())
    except MemoryError:
        raise
    except Exception as error:  # each class has its own checks, and the backend others
        raise UserError(
            f"network {name}: {kind.__name__} of keras-hub {hub.__version__} can't be built: "
            f"{shortened(error)}"
        ) from error


def _copy(name: str, source: keras.Model, model: keras.Model, size: int) -> None:
    """Copy the weights of a preset into the network of the size that is used."""
    for old, new in zip(source.variables, model.variables, strict=True):
        if old.shape == new.shape:
            new.assign(old)
        elif not new.path.endswith("/position_embeddings"):  # `keep_positions` sets those
            raise UserError(
                f"network {name}: its weights are for {_side(source)} pixels, and don't fit {size}"
            )
    keep_positions(model)

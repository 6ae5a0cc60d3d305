"""The folder of a preset that keras-hub reads: what its files say before a network is built.

A preset is a folder that a person downloaded, in the layout of keras-hub, or in that of Hugging
Face or timm where keras-hub reads it. keras-hub is an optional package, imported only here.
"""

import hashlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from landmark_ray.errors import UserError, shortened
from landmark_ray.models.specs import HUB, preset_folder

CONVERTER, PREPROCESSOR = "image_converter.json", "preprocessor_config.json"
"""Files that say how pixels are scaled: of keras-hub, and of Hugging Face."""

WEIGHTS = (".h5", ".safetensors")
"""Endings of the files of weights."""


def keras_hub(network: str) -> ModuleType:
    """Import keras-hub, which registers its classes, for a network.

    Raises:
        UserError: It cannot be imported.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise UserError(
            f"network {network} needs keras-hub, which can't be imported ({shortened(error)}): "
            "pip install 'landmark_ray[hub]'"
        ) from None
    return keras_hub


def checksum(name: str, *, weights: bool) -> str:
    """Return a checksum of what a network reads of its preset.

    Args:
        name: `hub:FOLDER`.
        weights: Whether it reads the weights, too.

    Raises:
        UserError: The folder is no preset.
    """
    config_of(name)
    total = hashlib.sha256()
    for file in sorted(preset_folder(name).iterdir()):
        if file.suffix == ".json" or (weights and file.suffix in WEIGHTS):
            with file.open("rb") as opened:
                total.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()[:16]


def config_of(name: str) -> dict[str, Any]:
    """Read the config.json of a preset.

    Raises:
        UserError: The folder is missing or no preset, or the file is damaged.
    """
    folder = preset_folder(name)
    if name == HUB or not folder.is_dir():
        raise UserError(
            f"network {name}: there is no folder {folder} on this machine; after hub: comes the "
            "folder of a preset that you downloaded"
        )
    config = _read(name, folder / "config.json") if (folder / "config.json").is_file() else {}
    if not config.keys() & {"registered_name", "model_type", "architecture"}:
        raise UserError(
            f"network {name}: {folder} is not a preset: it has no config.json of keras-hub, "
            "Hugging Face or timm"
        )
    return config


def has_any_size(config: dict[str, Any]) -> bool:
    """Tell whether a preset is DINOv2 or DINOv3, whose positions fit photos of any size."""
    kind = str(config.get("registered_name") or config.get("model_type")).lower()
    return kind.removeprefix("keras_hub>").startswith(("dinov2", "dinov3_vit", "dinov3backbone"))


def patch_of(config: dict[str, Any]) -> int:
    """Return the width of a patch in pixels, of a preset that has any size."""
    arguments = config["config"] if "registered_name" in config else config
    return int(arguments["patch_size"])


def scaling_of(name: str, hub: ModuleType) -> tuple[list[float], list[float]]:
    """Return how a preset scales RGB in 0..255: [3] factors and [3] summands.

    Raises:
        UserError: No file says so, or it is damaged.
    """
    folder = preset_folder(name)
    try:
        if (folder / CONVERTER).is_file():
            own = _read(name, folder / CONVERTER)["config"]
            others = ("name", "trainable", "dtype")
            converter = hub.layers.ImageConverter(
                **{k: v for k, v in own.items() if k not in others}
            )
            scale, offset = converter.scale, converter.offset
        elif (folder / PREPROCESSOR).is_file():
            scale, offset = _hugging_face_scaling(_read(name, folder / PREPROCESSOR))
        else:  # timm: in config.json
            converter = hub.layers.ImageConverter.from_preset(str(folder))
            scale, offset = converter.scale, converter.offset
        scale = 1.0 if scale is None else scale
        both = [np.broadcast_to(np.asarray(v, float), 3) for v in (scale, offset or 0.0)]
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise UserError(
            f"network {name}: the preset doesn't say how pixels are scaled, in {CONVERTER} or "
            f"{PREPROCESSOR} ({shortened(error)})"
        ) from error
    return both[0].tolist(), both[1].tolist()


def _hugging_face_scaling(config: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Return scale and offset of an image processor of Hugging Face: (x factor - mean) / std."""
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    mean, std = np.zeros(3), np.ones(3)
    if config.get("do_normalize", True):
        mean, std = (
            np.broadcast_to(np.asarray(config[k], float), 3) for k in ("image_mean", "image_std")
        )
    return (factor / std).tolist(), (-mean / std).tolist()


def _read(name: str, file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except ValueError as error:
        raise UserError(f"network {name}: {file} is damaged: {shortened(error)}") from None
    if not isinstance(value, dict):
        raise UserError(f"network {name}: {file} is damaged: it holds no object")
    return value

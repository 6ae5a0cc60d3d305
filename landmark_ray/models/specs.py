"""Names of networks and options of augmentation. This module does not import Keras."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from landmark_ray.errors import UserError

REFERENCE = ("resnet50", "vgg16", "vgg19", "inception_v3", "inception_resnet_v2")
"""The five networks of the reference solution."""

EMBEDDING = "embedding"
"""Name of the layer that ends a trunk with an embedding."""

SMALL = "small"
"""Name of the network of `models.small`, which trains from scratch."""

_PLAIN = """
    resnet50 resnet101 resnet152 resnet50_v2 resnet101_v2 resnet152_v2 vgg16 vgg19
    densenet121 densenet169 densenet201 mobilenet mobilenet_v2 mobilenet_v3_small
    mobilenet_v3_large nasnet_mobile efficientnet_b0 efficientnet_v2_b0
    convnext_tiny convnext_small convnext_base convnext_large convnext_xlarge
"""

SIZES: dict[str, int] = {
    **dict.fromkeys(_PLAIN.split(), 224),
    **dict.fromkeys(("inception_v3", "inception_resnet_v2", "xception"), 299),
    "nasnet_large": 331,
    **{f"efficientnet_b{i + 1}": s for i, s in enumerate((240, 260, 300, 380, 456, 528, 600))},
    **{f"efficientnet_v2_b{i + 1}": size for i, size in enumerate((240, 260, 300))},
    **{"efficientnet_v2_s": 384, "efficientnet_v2_m": 480, "efficientnet_v2_l": 480},
    SMALL: 112,
}
"""Name of every network (all of keras.applications, and `SMALL`) -> its input size in pixels."""

MIN_SIZE = 16
"""Smallest width and height of photos, in pixels. Many networks need more, and refuse less."""

HUB = "hub:"
"""What the name of a network of keras-hub begins with; the folder of a preset follows."""

Pooling = Literal["avg", "max", "gem"]
"""How a trunk's feature map becomes a vector: mean, maximum, or generalised mean (Radenovic et al.
2018). Of tokens, mean is the class token if there is one."""

HeadKind = Literal["linear", "cosine"]
"""What a head computes: a dense layer, or scaled cosines with a vector of each class."""

OptimizerKind = Literal["adamw", "sgd"]
Precision = Literal["auto", "float32", "mixed"]
"""Of the computation: "mixed" is 16 bits where they are enough, and "auto" is that on GPUs."""


def normalise_name(name: str) -> str:
    """Return a name without case and signs, so that EfficientNetV2S is efficientnet_v2_s."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


_BY_NORMALISED_NAME = {normalise_name(name): name for name in SIZES}


def network_name(name: str) -> str:
    """Return the name that `SIZES` has for a network, however it is spelt; `hub:FOLDER` stays.

    Raises:
        UserError: There is no such network.
    """
    if is_preset(name):
        return name
    known = _BY_NORMALISED_NAME.get(normalise_name(name))
    if not known:
        close = difflib.get_close_matches(normalise_name(name), _BY_NORMALISED_NAME, 1, 0.5)
        hint = (
            f"did you mean {_BY_NORMALISED_NAME[close[0]]}?"
            if close
            else f"there are {', '.join(SIZES)}"
        )
        raise UserError(f"unknown network {name!r}: {hint}")
    return known


def is_preset(name: str) -> bool:
    """Tell whether a network is one of keras-hub, in the folder of a preset."""
    return name.startswith(HUB)


def preset_folder(name: str) -> Path:
    """Return the folder that a name `hub:FOLDER` gives."""
    return Path(name.removeprefix(HUB)).expanduser()


class AugmentationOptions(BaseModel):
    """Vary the photos at random in training; 0 (or false) turns one kind of change off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip: bool = Field(True, description="mirror half of the photos, left to right")
    crop: float = Field(
        0.3, ge=0, lt=1, description="largest share of a photo's area that a random crop leaves out"
    )
    rotation: float = Field(
        5.0, ge=0, le=45, description="largest rotation to either side, in degrees"
    )
    colour: float = Field(
        0.2,
        ge=0,
        le=1,
        description="largest change of brightness, contrast and saturation, as a share; the hue "
        "turns by at most a tenth of this share of the colour circle",
    )
    erase: float = Field(
        0.25, ge=0, le=1, description="share of the photos in which one rectangle is painted over"
    )

    @classmethod
    def off(cls) -> "AugmentationOptions":
        """Return options that leave photos as they are."""
        return cls(flip=False, crop=0, rotation=0, colour=0, erase=0)


@dataclass(frozen=True)
class Backbone:
    """What rebuilds a network of keras-hub without the folder of its preset.

    Attributes:
        kind: Name of the class, such as DINOV2Backbone.
        arguments: Plain arguments of its constructor.
        scale: [3] factors of RGB in 0..255 before the network.
        offset: [3] summands after that.
    """

    kind: str
    arguments: dict[str, Any]
    scale: list[float]
    offset: list[float]


@dataclass(frozen=True)
class TrunkInfo:
    """What a bundle records about a trunk.

    Attributes:
        network: Name in `SIZES`, or `hub:` and the class of the backbone.
        input_size: Width and height of the photos that the trunk takes, in pixels.
        size: Width and height to which the trunk resizes them for its network, in pixels.
        preprocessing: Keras's name for it: caffe, tf, torch, or none if the network has its own.
        pooling: How the feature map becomes a vector.
        features: Dimension D of the trunk's vector.
        backbone: What rebuilds it, if it is a network of keras-hub.
        embedding: Whether a learned exponent and a dense layer follow (`models.metric`).
        signed: Whether the pooling before an embedding keeps the signs of its maps; False in older
            bundles.
    """

    network: str
    input_size: int
    size: int
    preprocessing: str
    pooling: Pooling
    features: int
    backbone: Backbone | None = None
    embedding: bool = False
    signed: bool = False

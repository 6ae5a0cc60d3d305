"""Small presets of keras-hub with random weights, and one in the layout of Hugging Face."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from landmark_ray.errors import UserError

SIZE = 32
PIXELS = 40
"""Width and height of the photos, which not all networks take."""
SCALE, OFFSET = [0.02, 0.01, 0.015], [-2.0, -1.0, -1.5]
_VIT = {
    "image_shape": (SIZE, SIZE, 3),
    "patch_size": 8,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
}


def _siglip(hub):
    text = hub.models.SigLIPTextEncoder(
        vocabulary_size=20,
        embedding_dim=16,
        hidden_dim=16,
        num_layers=1,
        num_heads=2,
        intermediate_dim=16,
        max_sequence_length=8,
    )
    return hub.models.SigLIPBackbone(
        hub.models.SigLIPVisionEncoder(**_VIT, intermediate_dim=32), text
    )


FAMILIES: dict[str, Callable] = {
    "vit": lambda hub: hub.models.ViTBackbone(**_VIT, mlp_dim=32),
    "dinov2": lambda hub: hub.models.DINOV2Backbone(
        **_VIT | {"image_shape": (56, 56, 3), "position_embedding_shape": (56, 56, 3)},
        intermediate_dim=32,
        num_register_tokens=2,
        antialias_in_interpolation=True,
    ),
    "dinov3": lambda hub: hub.models.DINOV3Backbone(
        **_VIT, intermediate_dim=32, num_register_tokens=2
    ),
    "siglip": _siglip,
    "swin": lambda hub: hub.models.SwinTransformerBackbone(
        image_shape=(SIZE, SIZE, 3), embed_dim=8, depths=[2, 1], num_heads=[2, 2], window_size=4
    ),
    "resnet": lambda hub: hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    ),
    "hgnetv2": lambda hub: hub.models.HGNetV2Backbone(  # one output of each stage
        depths=[1, 1],
        embedding_size=8,
        hidden_sizes=[8, 16],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=False,
        stackwise_stage_filters=[(8, 8, 8, 1, 1, 3), (8, 8, 16, 1, 1, 3)],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, False],
    ),
}


def write(family: str, folder: Path):
    """Save a backbone whose weights all differ from where they begin; return it."""
    import keras
    import keras_hub

    keras.utils.set_random_seed(1)
    backbone = FAMILIES[family](keras_hub)
    for number, variable in enumerate(backbone.variables):
        if keras.backend.is_float_dtype(variable.dtype) and "moving" not in variable.path:
            variable.assign(variable + 0.05 * keras.random.normal(variable.shape, seed=number))
    if family == "dinov2":  # the two are one, where nothing is interpolated
        parts = backbone.embeddings
        parts.interpolated_position_embeddings.assign(parts.position_embeddings)
    backbone.save_to_preset(str(folder))
    converter = keras_hub.layers.ImageConverter(image_size=(SIZE, SIZE), scale=SCALE, offset=OFFSET)
    converter.save_to_preset(str(folder))
    return backbone


def write_vit_of_hugging_face(folder: Path) -> dict[str, np.ndarray]:
    """Write config.json, preprocessor_config.json and model.safetensors; return the tensors."""
    from safetensors.numpy import save_file

    rng, d, mlp, tokens = np.random.default_rng(0), 16, 32, (SIZE // 8) ** 2 + 1
    shapes = {
        "embeddings.cls_token": (1, 1, d),
        "embeddings.position_embeddings": (1, tokens, d),
        "embeddings.patch_embeddings.projection.weight": (d, 3, 8, 8),
        "embeddings.patch_embeddings.projection.bias": (d,),
        "layernorm.weight": (d,),
        "layernorm.bias": (d,),
    }
    for name in ("attention.attention.query", "attention.attention.key"):
        shapes |= {f"encoder.layer.0.{name}.weight": (d, d), f"encoder.layer.0.{name}.bias": (d,)}
    for name in ("attention.attention.value", "attention.output.dense"):
        shapes |= {f"encoder.layer.0.{name}.weight": (d, d), f"encoder.layer.0.{name}.bias": (d,)}
    for name in ("layernorm_before", "layernorm_after"):
        shapes |= {f"encoder.layer.0.{name}.weight": (d,), f"encoder.layer.0.{name}.bias": (d,)}
    for name, out, into in (("intermediate.dense", mlp, d), ("output.dense", d, mlp)):
        shapes |= {
            f"encoder.layer.0.{name}.weight": (out, into),
            f"encoder.layer.0.{name}.bias": (out,),
        }
    tensors = {
        f"vit.{name}": rng.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    config = {
        "model_type": "vit",
        "architectures": ["ViTModel"],
        "image_size": SIZE,
        "patch_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "hidden_size": d,
        "intermediate_size": mlp,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "qkv_bias": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    processor = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2]}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return tensors


def built(folder, **options):
    """The trunk of a preset, as `--train.network hub:FOLDER` makes it."""
    from landmark_ray.models import networks

    options = {"weights": "imagenet", "input_size": PIXELS} | options
    return networks.build_trunk(f"hub:{folder}", **options)


def refused(work) -> str:
    """The one line with which work is refused."""
    with pytest.raises(UserError) as error:
        work()
    assert "\n" not in str(error.value)
    return str(error.value)

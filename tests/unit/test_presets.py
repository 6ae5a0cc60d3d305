"""Folders of presets: layouts that are read, and all that is refused in a line."""

import json
import shutil
import sys
import zipfile
from math import erf

import numpy as np
import pytest

from landmark_ray.bundle.network_files import read_trunk, write_trunk
from landmark_ray.config import Config
from landmark_ray.data.store import Store
from landmark_ray.models import fit_loop, hub, networks, presets
from landmark_ray.models.specs import Backbone
from landmark_ray.stages import describe, trunk
from tests import bombs
from tests import presets as small

pytest.importorskip("keras_hub", reason="the optional extra hub is not installed")


def vit_in_numpy(tensors: dict[str, np.ndarray], photos: np.ndarray) -> np.ndarray:
    """The class token [B, 16] of a Vision Transformer of one layer (Dosovitskiy et al. 2021)."""
    p = {name.removeprefix("vit."): value.astype(float) for name, value in tensors.items()}

    def dense(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def normal(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * p[f"{name}.weight"] + p[f"{name}.bias"]

    b, layer = len(photos), "encoder.layer.0"
    patches = photos.reshape(b, 4, 8, 4, 8, 3).transpose(0, 1, 3, 5, 2, 4).reshape(b, 16, -1)
    kernel = p["embeddings.patch_embeddings.projection.weight"].reshape(16, -1)
    x = patches @ kernel.T + p["embeddings.patch_embeddings.projection.bias"]
    first = np.broadcast_to(p["embeddings.cls_token"], (b, 1, 16))
    x = np.concatenate([first, x], axis=1) + p["embeddings.position_embeddings"]
    y = normal(x, f"{layer}.layernorm_before")
    q, k, v = (
        dense(y, f"{layer}.attention.attention.{n}").reshape(b, 17, 2, 8).transpose(0, 2, 1, 3)
        for n in ("query", "key", "value")
    )
    weights = np.exp(q @ k.transpose(0, 1, 3, 2) / np.sqrt(8))
    y = (weights / weights.sum(-1, keepdims=True)) @ v
    x = x + dense(y.transpose(0, 2, 1, 3).reshape(b, 17, 16), f"{layer}.attention.output.dense")
    y = dense(normal(x, f"{layer}.layernorm_after"), f"{layer}.intermediate.dense")
    y = y * (1 + np.vectorize(erf)(y / np.sqrt(2))) / 2
    return normal(x + dense(y, f"{layer}.output.dense"), "layernorm")[:, 0]


def test_a_folder_of_hugging_face_is_read(tmp_path):
    pytest.importorskip("safetensors", reason="the optional extra hub is not installed")
    tensors = small.write_vit_of_hugging_face(tmp_path / "vit")
    photos = np.random.default_rng(2).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    pixels = (photos.astype(float) / 255 - [0.5, 0.4, 0.3]) / [0.5, 0.25, 0.2]
    made = small.built(tmp_path / "vit", input_size=32)
    np.testing.assert_allclose(made(photos), vit_in_numpy(tensors, pixels), atol=1e-3)


def test_scaling_of_timm_is_read(tmp_path):
    import keras_hub

    numbers = {"input_size": [3, 32, 32], "mean": [0.5, 0.4, 0.3], "std": [0.5, 0.25, 0.2]}
    timm = {"architecture": "resnet18", "pretrained_cfg": numbers | {"interpolation": "bicubic"}}
    (tmp_path / "config.json").write_text(json.dumps(timm))
    scale, offset = presets.scaling_of(f"hub:{tmp_path}", keras_hub)
    pixels = np.array([0.0, 255.0, 51.0]) * scale + offset
    np.testing.assert_allclose(pixels, [-1.0, 2.4, -0.5], atol=1e-6)


def changed(folder, name: str, change) -> None:
    config = json.loads((folder / name).read_text())
    change(config)
    (folder / name).write_text(json.dumps(config))


@pytest.mark.parametrize(
    "spoil, said",
    [
        (shutil.rmtree, "there is no folder"),
        (lambda f: (f / "config.json").unlink(), "is not a preset: it has no config.json"),
        (lambda f: (f / "config.json").write_text("{}"), "is not a preset"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is damaged"),
        (
            lambda f: (f / "model.weights.h5").write_bytes(b"half"),
            "keras-hub can't read the preset",
        ),
        (lambda f: (f / "model.weights.h5").unlink(), "keras-hub can't read the preset"),
        (lambda f: (f / "image_converter.json").unlink(), "doesn't say how pixels are scaled"),
        (lambda f: (f / "image_converter.json").write_text("{}"), "doesn't say how pixels are"),
        (
            lambda f: changed(f, "config.json", lambda c: c["config"].update(num_layers=3)),
            "keras-hub can't read the preset",
        ),
    ],
)
def test_a_spoilt_preset_is_one_line(vit, spoil, said):
    spoil(vit)
    assert said in (line := small.refused(lambda: small.built(vit))) and str(vit) in line


def test_a_backbone_of_texts_is_refused(tmp_path):
    import keras_hub

    text = keras_hub.models.BertBackbone(20, 1, 2, 8, 8, max_sequence_length=4)
    text.save_to_preset(str(tmp_path))
    shutil.copy(__file__, tmp_path / "notes.py")
    (tmp_path / "image_converter.json").write_text('{"config": {}}')
    assert "BertBackbone is not a network of images" in small.refused(lambda: small.built(tmp_path))


def test_sizes_that_do_not_fit_are_one_line(families):
    said = small.refused(lambda: small.built(families["dinov3"][0], size=36))
    assert "36 pixels are not a multiple of its patches of 8 pixels" in said
    said = small.refused(lambda: small.built(families["vit"][0], size=40))
    assert "its weights are for 32 pixels, and don't fit 40" in said


def test_no_folder_is_one_line():
    assert "there is no folder" in small.refused(lambda: networks.build_trunk("hub:", weights=None))


def test_keras_hub_that_is_missing_is_one_line(families, tmp_path, monkeypatch):
    write_trunk(Store(str(tmp_path)), "trunk", made := small.built(families["vit"][0]))
    fit_loop.save(made, str(tmp_path))
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    for work in (
        lambda: small.built(families["vit"][0]),
        lambda: read_trunk(Store(str(tmp_path))),
        lambda: fit_loop.load(str(tmp_path)),
    ):
        said = small.refused(work)
        assert "needs keras-hub" in said and "pip install 'landmark_ray[hub]'" in said


def config_of(folder, **train) -> Config:
    return Config.model_validate({"train": {"network": f"hub:{folder}", **train}})


def test_stages_depend_on_what_the_folder_holds_and_not_on_where_it_is(vit, tmp_path):
    one, scratch = config_of(vit), config_of(vit, weights="none")
    moved = config_of(shutil.copytree(vit, tmp_path / "elsewhere" / "vit"))
    assert one.config_key("describe") == moved.config_key("describe")
    assert one.config_key("trunk")["train.network"] == "hub:vit"
    before = describe.inputs(one, None)
    assert list(before) == ["preset of train.network"]
    assert describe.inputs(moved, None) == before and trunk.inputs(one, None) == {}
    architecture = trunk.inputs(scratch, None)
    assert describe.inputs(scratch, None) == {} and architecture != {}
    assert describe.inputs(Config(), None) == trunk.inputs(Config(), None) == {}
    with (vit / "model.weights.h5").open("ab") as file:
        file.write(b"other")
    assert describe.inputs(one, None) != before and trunk.inputs(scratch, None) == architecture
    changed(vit, "config.json", lambda c: c["config"].update(num_layers=1))
    assert trunk.inputs(scratch, None) != architecture
    assert "there is no folder" in small.refused(lambda: describe.inputs(config_of("/no/x"), None))


def test_no_code_of_a_preset_or_a_bundle_is_run(families, vit, tmp_path):
    marker = tmp_path / "marker"
    touch = {"class_name": "Path", "module": "pathlib", "config": {}, "registered_name": "Path"}
    for change in (
        lambda c: c.update(registered_name="Functional"),
        lambda c: c.update(registered_name="Path", module="pathlib", class_name="Path"),
        lambda c: c["config"].update(patch_size=touch),
    ):
        folder = shutil.copytree(vit, tmp_path / "spoilt", dirs_exist_ok=True)
        changed(folder, "config.json", change)
        small.refused(lambda: small.built(folder))  # noqa: B023
    bombs.lambda_model(marker, tmp_path / "x.keras")
    with zipfile.ZipFile(tmp_path / "x.keras") as archive:
        keras_file = json.loads(archive.read("config.json"))
    folder = shutil.copytree(vit, tmp_path / "lambda")
    (folder / "config.json").write_text(json.dumps(keras_file | {"registered_name": "Functional"}))
    small.refused(lambda: small.built(folder))
    sound = networks.describe(small.built(families["vit"][0])).backbone
    for kind, arguments in (
        ("Path", {}),
        ("ImageConverter", {}),
        ("ViTBackbone", sound.arguments | {"patch_size": touch}),
        ("ViTBackbone", sound.arguments | {"mlp_dim": [keras_file]}),
    ):
        planted = Backbone(kind, arguments, sound.scale, sound.offset)
        small.refused(lambda: hub.rebuild("hub:planted", planted))  # noqa: B023
    assert not marker.exists()

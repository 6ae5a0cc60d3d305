"""Networks of keras-hub: built from small random presets, recorded, rebuilt, trained, converted."""

import importlib.util
import os
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from landmark_ray.bundle.ensemble import Ensemble
from landmark_ray.bundle.manifest import Bundle
from landmark_ray.bundle.network_files import read_trunk, trunk_info, write_trunk
from landmark_ray.data.store import Store
from landmark_ray.models import classification, fit_loop, growth, hub, metric, networks, presets
from landmark_ray.models.augmentation import build_augmentation
from landmark_ray.models.heads import build_head
from landmark_ray.models.rectangles import for_rectangles
from landmark_ray.models.specs import AugmentationOptions
from landmark_ray.serving import openvino_conversion
from landmark_ray.serving.inference import ShardNetworks
from landmark_ray.serving.serve_options import GraphOptions
from tests import bundles
from tests import presets as small
from tests.conftest import REPO
from tests.vectors import assert_same_outputs

pytest.importorskip("keras_hub", reason="the optional extra hub is not installed")

PHOTOS = np.random.default_rng(0).integers(0, 256, (3, small.PIXELS, small.PIXELS, 3), np.uint8)
OWN = {"vit": 32, "siglip": 32, "swin": 32}  # others fit the photos: 40 pixels
KINDS = {
    "vit": ("ViTBackbone", lambda out: out[:, 0]),
    "dinov2": ("DINOV2Backbone", lambda out: out[:, 0]),
    "dinov3": ("DINOV3Backbone", lambda out: out[:, 0]),
    "siglip": ("SigLIPVisionEncoder", lambda out: out),
    "swin": ("SwinTransformerBackbone", lambda out: out.mean(axis=1)),
    "resnet": ("ResNetBackbone", lambda out: out.mean(axis=(1, 2))),
    "hgnetv2": ("HGNetV2Backbone", lambda out: out.mean(axis=(1, 2))),
}

SOME = [
    pytest.param(family, marks=() if family in ("dinov3", "siglip", "swin") else pytest.mark.long)
    for family in small.FAMILIES
]
"""A network with a class token, one that pools by itself, and the one with the rarest layers."""


@pytest.mark.parametrize("family", small.FAMILIES)
def test_trunk_is_scaling_then_backbone_then_its_pooling(families, family):
    folder, backbone = families[family]
    made = small.built(folder)
    info = networks.describe(made)
    kind, pooled = KINDS[family]
    size = OWN.get(family, small.PIXELS)
    assert (info.network, info.size, info.input_size) == (f"hub:{kind}", size, small.PIXELS)
    assert (info.preprocessing, info.pooling) == ("hub", "avg")
    own = {"dinov2": 56}.get(family, size)  # where its positions aren't interpolated
    photos = np.random.default_rng(1).uniform(0, 255, (2, own, own, 3)).astype("float32")
    pixels = photos * np.float32(small.SCALE) + np.float32(small.OFFSET)
    part = getattr(backbone, "vision_encoder", backbone)
    if family == "dinov3":
        part = networks._inner(made)  # the saved one takes 32 pixels; weights are compared below
        for old, new in zip(backbone.variables, part.variables, strict=True):
            np.testing.assert_array_equal(old, new)
    wanted = pooled(np.asarray(hub.features(part, pixels)))
    found = small.built(folder, size=own, input_size=own)(photos)
    assert found.shape == (2, info.features)
    np.testing.assert_allclose(found, wanted, atol=2e-5, rtol=1e-4)
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3  # or any photo would do


@pytest.mark.parametrize("family", small.FAMILIES)
def test_a_bundle_rebuilds_it_without_the_folder(families, family, tmp_path, monkeypatch):
    made = small.built(families[family][0])
    bundle = Store(str(tmp_path))
    write_trunk(bundle, "trunk", made)
    monkeypatch.setattr(presets, "config_of", None)  # nothing is read of any preset
    again = read_trunk(bundle)
    assert_same_outputs(again(PHOTOS), made(PHOTOS))
    info = trunk_info(bundle)
    assert networks.describe(again) == info == networks.describe(made)
    assert str(families[family][0]) not in (tmp_path / "trunk/network.json").read_text()


@pytest.mark.parametrize("family", ["dinov2", "siglip", "resnet"])
def test_phase_metric_adds_an_embedding_that_a_bundle_keeps(families, family, tmp_path):
    y = np.arange(len(PHOTOS), dtype=np.int32) % 2
    model, _ = metric.build(
        small.built(families[family][0]), PHOTOS, y, classes=2, features=8, scale=8.0
    )
    trunk, bundle = classification.split_classifier(model)[0], Store(str(tmp_path))
    write_trunk(bundle, "trunk", trunk)
    again = read_trunk(bundle)
    assert again.output_shape == (None, 8)
    np.testing.assert_allclose(again(PHOTOS), trunk(PHOTOS), atol=1e-5)


@pytest.mark.parametrize("family", SOME)
def test_openvino_computes_the_same(families, family, tmp_path, monkeypatch):
    import openvino

    made = small.built(families[family][0])
    monkeypatch.setattr(keras.ops, "slice_update", keras.ops.slice_update)  # restored at the end
    openvino_conversion.replace_slice_updates()
    photos = keras.Input((small.PIXELS, small.PIXELS, 3))
    outputs = {"features": keras.layers.Identity(name="features")(made(photos))}
    file = str(tmp_path / "trunk.xml")
    keras.Model(photos, outputs).export(file, format="openvino", verbose=False)
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(file, "CPU", options)
    for batch in (PHOTOS[:1], PHOTOS):
        found = compiled([batch.astype(np.float32)])["features"]
        np.testing.assert_allclose(found, made(batch), atol=1e-4)


@pytest.mark.long  # OpenVINO's answers are compared above; a job serves another in test_preset.py
def test_a_bundle_of_it_is_served(families, tmp_path, monkeypatch):
    """Swin is the one that OpenVINO needs help with, in the process that converts it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundles.write(tmp_path / "bundle", groups=(1, 2), network=f"hub:{families['swin'][0]}")
    bundle, photos = Bundle(str(tmp_path / "bundle")), bundles.clouds(4)
    ensemble = Ensemble(bundle)
    logits = ensemble.logits(ensemble.vectors(photos))
    for group, served in ShardNetworks(bundle, 0, GraphOptions()).logits(photos).items():
        np.testing.assert_allclose(served, logits[group], atol=1e-3)
        assert np.ptp(logits[group]) > 0.1


def test_slices_are_updated_as_keras_does(monkeypatch):
    whole, part = np.arange(24).reshape(2, 3, 4), -np.ones((1, 2, 2), int)
    wanted = np.asarray(keras.ops.slice_update(whole, [1, 0, 2], part))
    monkeypatch.setattr(keras.ops, "slice_update", None)
    openvino_conversion.replace_slice_updates()
    as_tensors = keras.ops.convert_to_tensor(whole), keras.ops.convert_to_tensor(part)
    found = keras.ops.slice_update(as_tensors[0], [1, 0, 2], as_tensors[1])
    np.testing.assert_array_equal(found, wanted)


def trained(folder) -> keras.Model:
    """A classifier after two steps."""
    keras.utils.set_random_seed(0)
    made = small.built(folder)
    vary = build_augmentation(AugmentationOptions(), 0)
    head = build_head(made.output_shape[-1], 3)
    model = classification.build_classifier(made, head, vary, learn_statistics=False)
    y, weights = np.arange(3, dtype=np.int32), np.ones(3, np.float32)
    batches = iter([(PHOTOS[rows], y[rows], weights[rows]) for rows in ([0, 1], [2])])
    options = SimpleNamespace(optimizer="adamw", weight_decay=1e-4, smoothing=0.0)
    fit_loop.fit(
        model,
        fit_loop.Stream(batches, 2),
        rate=0.01,
        epochs=1,
        warmup=0.0,
        options=options,
        on_progress=lambda *_: None,
    )
    return model


@pytest.mark.parametrize(
    "family", ["siglip", *(pytest.param(f, marks=pytest.mark.long) for f in ("dinov2", "resnet"))]
)
def test_training_changes_it_and_files_keep_what_it_learned(families, family, tmp_path):
    model = trained(families[family][0])
    made, _ = classification.split_classifier(model)
    before = np.asarray(small.built(families[family][0])(PHOTOS))
    assert np.abs(np.asarray(made(PHOTOS)) - before).max() > 1e-3
    fit_loop.save(model, str(tmp_path))
    again = fit_loop.load(str(tmp_path))
    assert_same_outputs(again(PHOTOS), model(PHOTOS))
    write_trunk(Store(str(tmp_path)), "trunk", made)
    assert_same_outputs(read_trunk(Store(str(tmp_path)))(PHOTOS), made(PHOTOS))


def run(code: str, *arguments: object, backend: str = "tensorflow") -> str:
    """Run code in a process that has not imported keras-hub; return what it prints."""
    words = [sys.executable, "-c", code, *map(str, arguments)]
    variables = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, cwd=REPO, env=variables, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.mark.long  # the files of a training are read above
def test_a_worker_goes_on_from_a_checkpoint(families, tmp_path):
    model = trained(families["dinov2"][0])
    fit_loop.save(model, str(tmp_path))
    np.save(tmp_path / "photos.npy", PHOTOS.astype(np.float32))
    code = (
        "import sys, numpy as np; from landmark_ray.models import fit_loop\n"
        "from landmark_ray.models.networks import build_trunk\n"
        "build_trunk('small', weights=None); assert 'keras_hub' not in sys.modules\n"
        "model = fit_loop.load(sys.argv[1]); photos = np.load(sys.argv[1] + '/photos.npy')\n"
        "np.save(sys.argv[1] + '/answers.npy', model.predict_on_batch(photos))"
    )
    run(code, tmp_path)
    wanted = model.predict_on_batch(PHOTOS.astype(np.float32))
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), wanted, atol=1e-5)


JAX = pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="jax is not installed")


@JAX
@pytest.mark.long  # test_backends.py shows that of our own networks
def test_jax_reads_what_tensorflow_wrote_and_computes_the_same(families, tmp_path):
    np.save(tmp_path / "photos.npy", PHOTOS.astype(np.float32))
    wanted = {}
    some = ("dinov2", "siglip", "swin")
    for family in some:
        made = small.built(families[family][0])
        write_trunk(Store(str(tmp_path)), family, made)
        wanted[family] = np.asarray(made(PHOTOS))
    code = (
        "import sys, numpy as np; from landmark_ray.bundle.network_files import read_trunk\n"
        "from landmark_ray.data.store import Store; from landmark_ray.models import networks\n"
        "photos = np.load(sys.argv[1] + '/photos.npy')\n"
        "for family in sys.argv[3:]:\n"
        "    whole = networks.build_trunk(f'hub:{sys.argv[2]}/{family}', weights='imagenet',\n"
        "        input_size=photos.shape[1])\n"
        "    for name, trunk in (('bundle', read_trunk(Store(sys.argv[1]), family)),\n"
        "            ('preset', whole)):\n"
        "        np.save(f'{sys.argv[1]}/{family}-{name}.npy', np.asarray(trunk(photos)))"
    )
    run(code, tmp_path, families["vit"][0].parent, *some, backend="jax")
    for family, vectors in wanted.items():
        for name in ("bundle", "preset"):
            found = np.load(tmp_path / f"{family}-{name}.npy")
            np.testing.assert_allclose(found, vectors, atol=2e-4, err_msg=f"{family} {name}")


def test_pooling_of_tokens_is_that_of_patches(families):
    folder, backbone = families["dinov3"]
    photos = np.random.default_rng(3).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    pixels = photos * np.float32(small.SCALE) + np.float32(small.OFFSET)
    tokens = np.asarray(backbone({"pixel_values": pixels}))[:, 3:]  # class token, two registers
    assert tokens.shape == (2, 16, 16)
    largest = small.built(folder, input_size=32, pooling="max")(photos)
    np.testing.assert_allclose(largest, tokens.max(axis=1), atol=1e-4)
    mean = (np.maximum(tokens, 1e-6) ** 3).mean(axis=1) ** (1 / 3)
    np.testing.assert_allclose(
        small.built(folder, input_size=32, pooling="gem")(photos), mean, atol=1e-4
    )
    siglip = families["siglip"][0]
    said = small.refused(lambda: small.built(siglip, pooling="gem"))
    assert said == "network SigLIPVisionEncoder pools by itself: --train.pooling must be avg"


def test_without_weights_they_are_random(families):
    one, other = (small.built(families["vit"][0], weights=None)(PHOTOS) for _ in range(2))
    assert np.abs(np.asarray(one) - np.asarray(other)).max() > 1e-3


def test_only_networks_whose_weights_fit_any_size_go_on_at_another(families):
    made = metric.with_embedding(small.built(families["resnet"][0], size=32), 8)
    larger = growth.at_size(made, 40)
    assert [networks.describe(trunk).size for trunk in (made, larger)] == [32, 40]
    for one, other in zip(made.get_weights(), larger.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for family, own in (("vit", 32), ("siglip", 32), ("dinov2", 40)):
        fixed = small.built(families[family][0])
        line = small.refused(lambda trunk=fixed: growth.at_size(trunk, 48))
        said = f"{KINDS[family][0]} has another number of weights at 48 pixels than at {own}"
        assert said in line


def test_only_networks_of_maps_take_rectangles(families):
    for family in ("resnet", "hgnetv2"):
        made = small.built(families[family][0])
        both = for_rectangles(made)
        np.testing.assert_allclose(both(PHOTOS), made(PHOTOS), atol=1e-5)
        assert both(PHOTOS[:, 5:35]).shape == made(PHOTOS).shape
    for family in ("vit", "siglip", "dinov2", "swin"):
        fixed = small.built(families[family][0])
        line = small.refused(lambda trunk=fixed: for_rectangles(trunk))
        said = f"network hub:{KINDS[family][0]} takes squares of one size only: leave --train.metr"
        assert line.startswith(said)


def test_weights_come_from_a_file_too(families, tmp_path):
    made = small.built(families["vit"][0], weights=None)
    networks.save_trunk(made, tmp_path / "x.weights.h5")
    again = small.built(families["vit"][0], weights=tmp_path / "x.weights.h5")
    assert_same_outputs(again(PHOTOS), made(PHOTOS))


def test_networks_of_any_size_see_photos_nearly_as_they_are(families):
    sizes = {
        n: networks.describe(small.built(families[n][0], input_size=45)).size for n in families
    }
    assert sizes == OWN | {"dinov2": 40, "dinov3": 40, "resnet": 45, "hgnetv2": 45}

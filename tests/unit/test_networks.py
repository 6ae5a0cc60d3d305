import csv
import io
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image, ImageOps

from landmark_ray.errors import UserError
from landmark_ray.models import networks
from landmark_ray.models.layers import Preprocess
from landmark_ray.models.specs import REFERENCE, SIZES, TrunkInfo, network_name, normalise_name
from tests.vectors import assert_same_outputs

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3)).astype("float32")


@pytest.fixture(autouse=True, scope="module")
def _forget_models():
    yield
    keras.backend.clear_session()


def photos(size, batch=2):
    return np.random.default_rng(1).uniform(0, 255, (batch, size, size, 3)).astype("float32")


def test_every_network_of_keras_has_a_name():
    assert {normalise_name(name) for name in SIZES} == set(networks.constructors()) | {"small"}
    assert set(REFERENCE) < set(SIZES)


def test_every_network_has_its_native_size(monkeypatch):
    class Asked(Exception):
        pass

    def ask(*_, default_size, **__):
        raise Asked(default_size)

    monkeypatch.setattr("keras.src.applications.imagenet_utils.obtain_input_shape", ask)
    made = networks.constructors()
    for name, size in SIZES.items():
        if name == "small" or name.startswith("mobilenet_v3"):
            continue  # of these, mobilenet_v3 has its size of 224 in words only
        with pytest.raises(Asked) as asked:
            made[normalise_name(name)](weights=None, input_shape=None)
        assert asked.value.args == (size,), name


@pytest.mark.parametrize(
    "spelt, name",
    [
        ("resnet50", "resnet50"),
        ("EfficientNetV2S", "efficientnet_v2_s"),
        ("efficientnet_v2s", "efficientnet_v2_s"),
        ("MobileNet-V2", "mobilenet_v2"),
        ("ConvNeXtTiny", "convnext_tiny"),
    ],
)
def test_networks_are_found_however_spelt(spelt, name):
    assert network_name(spelt) == name


def test_unknown_network_gets_a_suggestion():
    with pytest.raises(UserError, match=r"unknown network 'resnet5': did you mean resnet50\?"):
        networks.build_trunk("resnet5", weights=None)
    with pytest.raises(UserError, match="there are resnet50, "):
        network_name("0")


@pytest.mark.parametrize("name", sorted(networks.constructors()))
def test_preprocessing_is_that_of_keras(name):
    module = networks.module_of(networks.constructors()[name])
    wanted = module.preprocess_input(PIXELS.copy())
    layer = Preprocess.like(module.preprocess_input)
    np.testing.assert_allclose(layer(PIXELS), wanted, atol=1e-4)
    again = Preprocess.from_config(layer.get_config())
    np.testing.assert_array_equal(again(PIXELS), layer(PIXELS))


def test_preprocessing_that_mixes_channels_is_refused():
    with pytest.raises(ValueError, match="isn't affine in each channel"):
        Preprocess.like(lambda pixels: pixels @ np.ones((3, 3)))


@pytest.mark.parametrize(
    "name, kind, features",
    [("vgg16", "caffe", 512), ("mobilenet", "tf", 1024), ("mobilenet_v3_small", "none", 576)],
)
def test_trunk_is_preprocessing_then_network_then_pooling(name, kind, features):
    trunk = networks.build_trunk(name, weights=None, size=64, pooling="max")
    assert networks.describe(trunk) == TrunkInfo(name, 64, 64, kind, "max", features)
    assert SIZES[name] == 224
    constructor = networks.constructors()[normalise_name(name)]
    plain = constructor(weights=None, include_top=False, input_shape=(64, 64, 3), pooling="max")
    plain.set_weights(trunk.get_weights())
    prepared = networks.module_of(constructor).preprocess_input(photos(64).copy())
    np.testing.assert_allclose(trunk(photos(64)), plain(prepared), rtol=1e-4, atol=1e-5)


def test_reference_default_has_2048_features_of_224_pixels():
    info = networks.describe(networks.build_trunk("resnet50", weights=None))
    assert info == TrunkInfo("resnet50", 224, 224, "caffe", "avg", 2048)


def test_bytes_give_the_same_features_as_floats():
    trunk = networks.build_trunk("small", weights=None, size=32)
    pixels = photos(32).astype("uint8")
    assert_same_outputs(trunk(pixels), trunk(pixels.astype("float32")))
    assert trunk.predict(pixels, verbose=0).dtype == np.float32


def test_generalised_mean_lies_between_mean_and_maximum(tmp_path):
    pooled = {}
    path = tmp_path / "x.weights.h5"
    networks.save_trunk(networks.build_trunk("small", weights=None, size=64), path)
    for pooling in ("avg", "gem", "max"):
        trunk = networks.build_trunk("small", weights=path, size=64, pooling=pooling)
        pooled[pooling] = np.asarray(trunk(photos(64)))
    assert (pooled["avg"] <= pooled["gem"] + 1e-5).all()
    assert (pooled["gem"] <= pooled["max"] + 1e-5).all()
    with pytest.raises(ValueError, match="pooling must be one of"):
        networks.build_trunk("small", weights=None, pooling="sum")


def test_photos_are_resized_inside():
    trunk = networks.build_trunk("small", weights=None, size=64, input_size=150)
    info = networks.describe(trunk)
    assert (info.input_size, info.size) == (150, 64)
    flat = np.broadcast_to(np.float32([200, 100, 50]), (1, 150, 150, 3))
    small = networks.build_trunk("small", weights=None, size=64)
    small.set_weights(trunk.get_weights())
    np.testing.assert_allclose(trunk(flat), small(flat[:, :64, :64]), atol=1e-4)


def test_weights_survive_a_file_and_a_saved_model(tmp_path):
    trunk = networks.build_trunk("small", weights=None, size=64)
    wanted = np.asarray(trunk(photos(64)))
    networks.save_trunk(trunk, tmp_path / "small.weights.h5")
    trunk.save(tmp_path / "small.keras")
    again = networks.build_trunk("small", weights=tmp_path / "small.weights.h5", size=64)
    assert_same_outputs(again(photos(64)), wanted)
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    assert_same_outputs(loaded(photos(64)), wanted)
    assert networks.describe(loaded) == networks.describe(trunk)


def test_trunk_exports(tmp_path):
    import tensorflow as tf

    trunk = networks.build_trunk("mobilenet", weights=None, size=32, input_size=70, pooling="gem")
    trunk.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    np.testing.assert_allclose(served.serve(photos(70)), trunk(photos(70)), rtol=1e-4, atol=1e-5)


def test_efficientnet_from_a_file_sees_what_its_imagenet_one_sees(tmp_path, monkeypatch):
    plain = keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    std = np.array([0.229, 0.224, 0.225])  # where Keras's file should hold squares
    normalise = next(x for x in plain.layers if isinstance(x, keras.layers.Normalization))
    normalise.set_weights([np.array([0.485, 0.456, 0.406]), std, np.array(0)])
    path = str(tmp_path / "efficientnet.weights.h5")
    plain.save_weights(path)
    monkeypatch.setattr(
        "keras.src.applications.efficientnet.file_utils.get_file", lambda *_, **__: path
    )
    imagenet = networks.build_trunk("efficientnet_b0", weights="imagenet", size=32)
    file = networks.build_trunk("efficientnet_b0", weights=path, size=32)
    wanted = np.asarray(imagenet(photos(32)))
    unit = np.abs(wanted).max()  # random weights make tiny features
    np.testing.assert_allclose(file(photos(32)) / unit, wanted / unit, atol=1e-3)
    naive = np.asarray(plain(photos(32))).mean(axis=(1, 2))
    assert np.abs(naive - wanted).max() / unit > 0.1


def test_failed_download_is_one_line(monkeypatch):
    def fail(*_, **__):
        raise Exception("URL fetch failure on https://x: None -- no route\nto host")

    monkeypatch.setattr("keras.src.applications.mobilenet_v2.file_utils.get_file", fail)
    with pytest.raises(UserError) as error:
        networks.build_trunk("mobilenet_v2", weights="imagenet", size=32)
    assert "network mobilenet_v2: its imagenet weights can't be downloaded (URL" in str(error.value)
    assert "no route to host" in str(error.value) and "\n" not in str(error.value)


def test_our_network_has_no_imagenet_weights():
    with pytest.raises(UserError, match="small has no imagenet weights"):
        networks.build_trunk("small", weights="imagenet")


def test_size_that_a_network_can_not_have_is_one_line():
    with pytest.raises(UserError, match="xception can't be built at 20 pixels: Input size must be"):
        networks.build_trunk("xception", weights=None, size=20)
    with pytest.raises(UserError, match="size must be 16 pixels or more, got 0"):
        networks.build_trunk("small", weights=None, size=0)


def test_weights_that_can_not_be_used_are_one_line(tmp_path):
    path = tmp_path / "small.weights.h5"
    trunk = networks.build_trunk("small", weights=None, size=32)
    networks.save_trunk(trunk, path)
    good = path.read_bytes()
    with pytest.raises(UserError, match="no file of weights .*absent.h5"):
        networks.build_trunk("small", weights=tmp_path / "absent.h5", size=32)
    with pytest.raises(UserError, match=r"must be in a file \*.weights.h5"):
        networks.build_trunk("small", weights=__file__, size=32)
    with pytest.raises(UserError, match="network mobilenet: the weights in .* don't fit"):
        networks.build_trunk("mobilenet", weights=path, size=32)
    for damaged in (good[: len(good) // 2], b"no weights"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged"):
            networks.build_trunk("small", weights=path, size=32)
    trunk.layers[-2].variables[0].assign(np.full(trunk.layers[-2].variables[0].shape, np.nan))
    networks.save_trunk(trunk, path)
    with pytest.raises(UserError, match=r"don't fit.*\(1 arrays lack finite values"):
        networks.build_trunk("small", weights=path, size=32)


@pytest.mark.shared
@pytest.mark.filterwarnings("error:Skipping nested container")
def test_imagenet_features_tell_landmarks_apart(shared, gld_mini):
    weights = shared / "models" / "mobilenet_v2_imagenet_notop.weights.h5"
    kinds = {row["id"]: row for row in csv.DictReader((gld_mini / "truth.csv").open())}
    pictures, labels = [], []
    with tarfile.open(gld_mini / "train" / "images_000.tar") as tar:
        for member in tar:
            row = kinds.get(Path(member.name).stem)
            if row and row["kind"] == "photo" and len(labels) < 60:
                image = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")
                pictures.append(np.asarray(ImageOps.fit(image, (224, 224))))
                labels.append(row["landmark_id"])
    trunk = networks.build_trunk("mobilenet_v2", weights=weights)
    features = trunk.predict(np.stack(pictures), verbose=0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    similar = features @ features.T
    np.fill_diagonal(similar, -1)
    right = np.array(labels)[similar.argmax(axis=1)] == np.array(labels)
    assert right.mean() > 0.8

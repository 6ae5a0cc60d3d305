"""The trunk of the phase metric: where it begins, and that it is stored and read as any other."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest

from landmark_ray.bundle.network_files import read_trunk, trunk_info, write_trunk
from landmark_ray.config.training import TrainConfig
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.whitening import fit_whitening, unit_length
from landmark_ray.models import arcface, fit_loop, metric, networks
from landmark_ray.models.classification import split_classifier
from landmark_ray.models.embedding import Embedder
from landmark_ray.training.photo_stream import drawn_evenly

PHOTOS = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8)
"""At 64 pixels, `small` has maps of 2 x 2; of a map of one, all means are the same."""
Y = np.repeat(np.arange(3, dtype=np.int32), 4)


@pytest.fixture
def trunk():
    keras.utils.set_random_seed(1)
    return networks.build_trunk("small", weights=None, size=64)


@pytest.fixture
def model(trunk):
    return metric.build(trunk, PHOTOS, Y, classes=4, features=16, scale=10.0)[0]


def test_embedding_begins_as_the_whitening_of_the_mean_pooled_vectors(trunk, model):
    plain = Embedder(trunk).embed(PHOTOS)
    wanted = fit_whitening(plain, 16)(plain)
    embedded = unit_length(Embedder(split_classifier(model)[0]).embed(PHOTOS))
    assert embedded.shape == (12, 16)
    np.testing.assert_allclose(embedded @ embedded.T, wanted @ wanted.T, atol=5e-3)


def test_centers_begin_at_the_means_of_the_landmarks(model):
    logits = Embedder(model).embed(PHOTOS)
    assert logits.shape == (12, 4)
    assert (logits[:, :3].argmax(axis=1) == Y).all(), "class 3 has no photo and begins at random"
    assert np.abs(logits).max() <= 10.0 + 1e-4


def test_photos_that_are_all_equal_are_one_line(trunk):
    with pytest.raises(UserError, match="cannot begin with the network's vectors: all of 12"):
        metric.build(trunk, np.repeat(PHOTOS[:1], 12, 0), Y, classes=4, features=16, scale=10.0)


def test_trunk_with_an_embedding_is_stored_and_read(model, tmp_path):
    trunk, folder = split_classifier(model)[0], Store(str(tmp_path))
    trunk.get_layer("gem_pooling").exponent.assign(2.5)
    write_trunk(folder, "trunk", trunk)
    info = trunk_info(folder)
    assert (info.network, info.pooling, info.features, info.embedding) == ("small", "gem", 16, True)
    np.testing.assert_allclose(
        Embedder(read_trunk(folder)).embed(PHOTOS), Embedder(trunk).embed(PHOTOS), atol=1e-5
    )


def test_pooling_of_an_older_bundle_keeps_no_signs(model, tmp_path):
    folder = Store(str(tmp_path))
    write_trunk(folder, "trunk", split_classifier(model)[0])
    file = tmp_path / "trunk/network.json"
    written = json.loads(file.read_text())
    assert written.pop("signed") is True
    assert read_trunk(folder).get_layer("gem_pooling").signed
    file.write_text(json.dumps(written))
    assert not read_trunk(folder).get_layer("gem_pooling").signed


def test_trunk_of_an_older_version_is_read(trunk, tmp_path):
    folder = Store(str(tmp_path))
    write_trunk(folder, "trunk", trunk)
    written = json.loads((tmp_path / "trunk/network.json").read_text())
    assert written.pop("embedding") is written.pop("signed") is False
    (tmp_path / "trunk/network.json").write_text(json.dumps(written))
    np.testing.assert_allclose(
        Embedder(read_trunk(folder)).embed(PHOTOS), Embedder(trunk).embed(PHOTOS), atol=1e-6
    )


def batches(steps):
    rng = np.random.default_rng(5)
    for _ in range(steps):
        rows = rng.integers(0, 12, 6)
        labels = np.stack([Y[rows], np.full(6, 0.2)], axis=1).astype(np.float32)
        yield PHOTOS[rows].astype(np.float32), labels, np.ones(6, np.float32)


def test_weights_that_remain_are_the_average_and_the_exponent_learns(model):
    options = TrainConfig(weight_decay=0.0)
    seen = []

    def progress(epoch, logs, model):
        seen.append([np.array(w) for w in model.get_weights()])

    fit_loop.fit(
        model,
        fit_loop.Stream(batches(8), 1),
        rate=1e-2,
        epochs=8,
        warmup=0.1,
        options=options,
        on_progress=progress,
        loss=arcface.ArcFace(10.0),
        average=0.5,
    )
    trunk = split_classifier(model)[0]
    place = next(
        i for i, w in enumerate(model.weights) if w is trunk.get_layer("gem_pooling").exponent
    )
    steps = [float(weights[place]) for weights in seen]
    assert abs(steps[-1] - 1.0) > 1e-3
    average = 1.0
    for step in steps:
        average = 0.5 * average + 0.5 * step
    # Keras begins the average at the first step's weights, or at zero: bounds, not digits
    assert min(steps) - 0.01 <= float(model.get_weights()[place]) <= max(steps) + 0.01
    assert float(model.get_weights()[place]) == pytest.approx(average, abs=0.02)
    assert float(model.get_weights()[place]) != pytest.approx(steps[-1], abs=1e-6)


@pytest.mark.parametrize("network", ["small", "convnext_tiny"])
def test_pooling_begins_as_the_mean_also_of_maps_that_are_negative(network):
    keras.utils.set_random_seed(3)
    trunk = networks.build_trunk(network, weights=None, size=64)
    own = np.asarray(trunk(PHOTOS, training=False))
    embedded = metric.with_embedding(trunk, 16)
    unit = keras.Model(embedded.inputs, embedded.get_layer("unit").output)
    wanted = own / np.linalg.norm(own, axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(unit(PHOTOS, training=False)), wanted, atol=1e-3)
    with_gem = networks.build_trunk(network, weights=None, size=64, pooling="gem")
    assert not metric.with_embedding(with_gem, 16).get_layer("gem_pooling").signed
    info = networks.describe(embedded)
    assert info.signed and metric.rebuilt(info).get_layer("gem_pooling").signed
    older = replace(info, signed=False)
    assert not metric.rebuilt(older).get_layer("gem_pooling").signed


@pytest.mark.long  # test_sampled_centers.py stops one that has more to keep
def test_training_that_stops_goes_on_as_if_it_had_not(trunk, tmp_path):
    options = TrainConfig()

    def ended(stop):
        keras.utils.set_random_seed(2)
        model, _ = metric.build(
            networks.build_trunk("small", weights=None, size=64),
            PHOTOS, Y, classes=4, features=16, scale=10.0,
        )  # fmt: skip
        every = list(batches(6))

        def train(model, done):
            fit_loop.fit(
                model,
                fit_loop.Stream(iter(every[2 * done :]), 2),
                rate=1e-3,
                epochs=3,
                done=done,
                warmup=0.1,
                options=options,
                on_progress=lambda epoch, logs, model: (
                    fit_loop.save(model, str(tmp_path)) or epoch == stop
                ),
                loss=arcface.ArcFace(10.0),
                average=0.9,
            )
            return model

        train(model, 0)
        return train(fit_loop.load(str(tmp_path)), stop) if stop else model

    whole, parts = ended(0), ended(1)
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_landmarks_are_drawn_evenly_and_every_photo_in_turn():
    y = np.array([0] * 20 + [1] * 3 + [2] * 7)
    rows = drawn_evenly(y, np.random.default_rng(0))
    assert np.bincount(y[rows]).tolist() == [10, 10, 10]
    assert len(set(rows[y[rows] == 0])) == 10, "a photo of a large landmark came twice"
    assert sorted(np.bincount(rows, minlength=30)[20:23]) == [3, 3, 4]
    other = drawn_evenly(y, np.random.default_rng(1))
    assert set(other[y[other] == 0]) != set(rows[y[rows] == 0])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"phases": ("metric",)}, "metric may come before"),
        ({"phases": ("head", "metric")}, "metric may come before"),
        ({"margin_few": 1.4, "margin_many": 0.2}, "a right angle"),
    ],
)
def test_wrong_options_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        TrainConfig(**options)


def test_only_the_phase_metric_makes_its_options_count():
    plain, other = TrainConfig(), TrainConfig(margin_few=0.2)
    for stage in ("trunk", "embed", "train", "finetune"):
        assert plain.config_key(stage) == other.config_key(stage)
    metric_on = [TrainConfig(phases=("metric", "head"), margin_few=m) for m in (0.45, 0.2)]
    assert metric_on[0].config_key("trunk") != metric_on[1].config_key("trunk")
    assert metric_on[0].config_key("trunk") != plain.config_key("trunk")

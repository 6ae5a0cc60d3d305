import subprocess
import sys

import keras
import numpy as np
import pytest

from landmark_ray.models import classification
from landmark_ray.models.augmentation import build_augmentation
from landmark_ray.models.heads import build_head
from landmark_ray.models.networks import build_trunk, describe
from landmark_ray.models.specs import AugmentationOptions
from tests.vectors import assert_same_outputs


@pytest.fixture
def mixed_precision():
    classification.use_precision("mixed")
    yield
    classification.use_precision("float32")


def stripes(n, size=48):
    """Photos of 2 classes: horizontal or vertical stripes of any colour and phase."""
    random = np.random.default_rng(0)
    labels = np.arange(n) % 2
    wave = 1 + np.sin(np.arange(size) * 0.8 + random.uniform(0, 6, (n, 1)))
    grey = np.where(labels[:, None, None], wave[:, :, None], wave[:, None, :])
    colour = random.uniform(40, 127, (n, 1, 1, 3))
    grey = np.broadcast_to(grey, (n, size, size))
    return (grey[..., None] * colour).astype("uint8"), labels


def assembled():
    trunk = build_trunk("small", weights=None, size=48)
    head = build_head(describe(trunk).features, 2)
    augmentation = build_augmentation(AugmentationOptions(), 0)
    model = classification.build_classifier(trunk, head, augmentation, learn_statistics=True)
    return trunk, head, model


def test_options_are_read_without_keras():
    code = "import landmark_ray.models.specs, sys; print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_it_learns_two_classes_from_scratch():
    keras.utils.set_random_seed(0)
    photos, labels = stripes(96)
    trunk, head, model = assembled()
    rates = classification.schedule(2e-3, steps=24, warmup_steps=3)
    model.compile(classification.optimizer("adamw", rates, 0.01), classification.loss(0.1))
    model.fit(photos, labels, batch_size=16, epochs=4, verbose=0, sample_weight=np.ones(96))
    found = model.predict(photos, verbose=0)
    assert (found.argmax(axis=1) == labels).mean() > 0.9
    np.testing.assert_allclose(head(trunk(photos)), found, atol=1e-3)


def test_frozen_trunk_stays_as_it_is_while_the_head_learns():
    photos, labels = stripes(16)
    trunk, head, _ = assembled()
    trunk.trainable = False
    model = classification.build_classifier(trunk, head, learn_statistics=False)
    before = trunk.get_weights(), head.get_weights()
    model.compile(classification.optimizer("sgd", 0.1), classification.loss(), jit_compile=False)
    model.fit(photos, labels, verbose=0)
    for old, new in zip(before[0], trunk.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert any((old != new).any() for old, new in zip(before[1], head.get_weights(), strict=True))


def test_trunk_that_keeps_its_statistics_drops_nothing(tmp_path):
    inputs = keras.Input((4, 4, 3))
    trunk = keras.Model(inputs, keras.layers.Flatten()(keras.layers.Dropout(0.5)(inputs)))
    head = build_head(48, 2, dropout=0)
    model = classification.build_classifier(trunk, head, learn_statistics=False)
    photos = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3))
    np.testing.assert_array_equal(model(photos, training=True), model(photos, training=False))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(photos, training=True), model(photos))


def test_trunk_learns_and_keeps_its_statistics_when_told():
    photos, labels = stripes(16)
    trunk, head, _ = assembled()
    statistics = [w for w in trunk.non_trainable_variables if "moving" in w.path]
    assert statistics
    for learn in (False, True):
        model = classification.build_classifier(trunk, head, learn_statistics=learn)
        sgd = classification.optimizer("sgd", 0.01)
        model.compile(sgd, classification.loss(), jit_compile=False)  # XLA takes a while
        before = [keras.ops.convert_to_numpy(w).copy() for w in statistics]
        weights = keras.ops.convert_to_numpy(trunk.trainable_variables[0]).copy()
        model.fit(photos, labels, verbose=0)
        same = [np.array_equal(b, w) for b, w in zip(before, statistics, strict=True)]
        assert all(same) if not learn else not any(same)
        assert not np.array_equal(weights, trunk.trainable_variables[0])


@pytest.mark.usefixtures("mixed_precision")
def test_mixed_precision_computes_in_16_bits_between_float32_ends():
    photos, labels = stripes(4)
    trunk, _, model = assembled()
    preprocess = keras.Model(trunk.inputs, trunk.get_layer("preprocess").output)
    around = keras.Model(model.inputs, preprocess(model.inputs[0]))
    np.testing.assert_allclose(around.predict(photos, verbose=0), photos / 127.5 - 1, atol=1e-6)
    inner = next(layer for layer in trunk.layers if isinstance(layer, keras.Model))
    assert inner.layers[1].compute_dtype == "float16"
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    assert trunk(photos).dtype == model(photos).dtype == "float32"
    model.compile(classification.optimizer("adamw", 1e-3, 0.01), classification.loss(0.1))
    assert np.isfinite(model.fit(photos, labels, verbose=0).history["loss"]).all()


def test_cosine_head_ignores_the_length_of_features():
    head = build_head(3, 2, kind="cosine", scale=16, dropout=0)
    head.layers[-1].kernel.assign(np.float32([[2, 0], [0, 5], [0, 0]]))
    for length in (0.1, 7):
        logits = head(np.float32([[length, 0, 0], [0.6 * length, 0.8 * length, 0]]))
        np.testing.assert_allclose(logits, [[16, 0], [9.6, 12.8]], atol=1e-4)
    assert len(head.trainable_variables) == 1
    assert len(build_head(3, 2, kind="cosine", learn_scale=True).trainable_variables) == 2


def test_heads_of_one_class_and_wrong_options():
    assert build_head(4, 1).output_shape == (None, 1)
    for wrong in ({"classes": 0}, {"dropout": 1.0}, {"kind": "arc"}, {"scale": 0}):
        with pytest.raises(ValueError, match="head: "):
            build_head(**{"features": 4, "classes": 2, **wrong})


def test_head_survives_saving(tmp_path):
    head = build_head(4, 3, kind="cosine")
    head.save(tmp_path / "head.keras")
    features = np.float32([[1, -2, 3, 4]])
    loaded = keras.saving.load_model(tmp_path / "head.keras")
    assert_same_outputs(loaded(features), head(features))


def test_smoothed_loss_by_hand():
    logits = np.log(np.float32([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]))
    first = -(0.8 * np.log(0.7) + 0.1 * np.log(0.2) + 0.1 * np.log(0.1))
    second = -(0.8 * np.log(0.8) + 0.2 * np.log(0.1))
    loss = classification.loss(0.3)  # 0.1 for every class
    assert float(loss(np.array([0, 2]), logits)) == pytest.approx((first + second) / 2, rel=1e-5)
    assert float(loss(np.array([[0], [2]]), logits)) == pytest.approx(
        (first + second) / 2, rel=1e-5
    )
    shares = np.float32([[1, 0, 0], [0, 0, 1]])
    assert float(loss(shares, logits)) == pytest.approx((first + second) / 2, rel=1e-5)
    weighted = loss(np.array([0, 2]), logits, sample_weight=np.float32([2, 0]))
    assert float(weighted) == pytest.approx(first, rel=1e-5)
    assert float(classification.loss()(np.array([0]), logits[:1])) == pytest.approx(
        -np.log(0.7), rel=1e-5
    )
    with pytest.raises(ValueError, match="smoothing must be at least 0 and below 1, got 1"):
        classification.loss(1)


def test_rates_rise_on_a_line_and_fall_on_a_cosine():
    rates = classification.schedule(0.8, steps=12, warmup_steps=4)
    found = [float(rates(step)) for step in (0, 2, 4, 8, 12, 20)]
    np.testing.assert_allclose(found, [0.2, 0.5, 0.8, 0.4, 0, 0], atol=1e-6)
    plain = classification.schedule(0.8, steps=2)
    np.testing.assert_allclose([float(plain(s)) for s in (0, 1, 2)], [0.8, 0.4, 0], atol=1e-6)
    for wrong in ((0, 5, 1), (0.1, 5, 5), (0.1, 0, 0), (0.1, 5, -1)):
        with pytest.raises(ValueError, match="schedule: "):
            classification.schedule(*wrong)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_weight_decay_spares_biases_and_batch_norm(kind):
    layers = [keras.layers.Dense(2, bias_initializer="ones"), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((3,)), *layers])
    kernel = keras.ops.convert_to_numpy(layers[0].kernel).copy()
    optimizer = classification.optimizer(kind, 0.1, 0.5)
    variables = model.trainable_variables
    optimizer.apply([keras.ops.zeros(v.shape) for v in variables], variables)
    np.testing.assert_allclose(layers[0].kernel, kernel * 0.95, rtol=1e-5)
    np.testing.assert_array_equal(layers[0].bias, [1, 1])
    np.testing.assert_array_equal(layers[1].gamma, [1, 1])


def test_wrong_optimizers_are_refused():
    with pytest.raises(ValueError, match="kind must be adamw or sgd, got 'adam'"):
        classification.optimizer("adam", 0.1)
    with pytest.raises(ValueError, match="weight_decay must be at least 0, got -1"):
        classification.optimizer("sgd", 0.1, -1)

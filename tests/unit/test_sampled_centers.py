"""Partial FC: each step trains a sample of the centers, and only these."""

import keras
import numpy as np
import pytest

from landmark_ray.config.training import TrainConfig
from landmark_ray.models import arcface, fit_loop, metric
from landmark_ray.models.embedding import Embedder
from landmark_ray.models.sampled_centers import SampledCenters, sample
from tests.unit.test_arcface import from_the_paper

CLASSES, FEATURES, SCALE = 40, 6, 10.0
PHOTOS = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8)
Y = np.repeat(np.array([3, 17, 30], np.int32), 4)
MARGINS = np.linspace(0.1, 0.5, CLASSES).astype(np.float32)


def small_trunk():
    """Maps and their mean, as every trunk ends; TensorFlow traces its steps in moments."""
    photos = keras.Input((64, 64, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1)(photos)
    maps = keras.layers.Conv2D(16, 8, 8, activation="relu")(scaled)
    return keras.Model(photos, keras.layers.GlobalAveragePooling2D(name="avg_pooling")(maps))


def built(size):
    """A network that holds the centers of `size` classes, and those of all."""
    keras.utils.set_random_seed(1)
    trunk = small_trunk()
    options = {"classes": CLASSES, "features": FEATURES, "scale": SCALE, "sample": size}
    return metric.build(trunk, PHOTOS, Y, **options)


def labelled(steps):
    rng = np.random.default_rng(5)
    drawn = [rng.integers(0, 12, 4) for _ in range(steps)]
    batches = ((PHOTOS[r].astype(np.float32), Y[r], np.ones(4, np.float32)) for r in drawn)
    return list(arcface.with_margins(batches, MARGINS))


def train(model, batches, centers=None, *, epochs, done=0, optimizer="adamw", on_progress=None):
    """Train an epoch for each batch."""
    fit_loop.fit(
        model,
        fit_loop.Stream(iter(batches), 1),
        rate=1e-2,
        epochs=epochs,
        done=done,
        warmup=0.0,
        options=TrainConfig(optimizer=optimizer),
        on_progress=on_progress or (lambda epoch, logs, model: None),
        loss=arcface.ArcFace(SCALE),
        average=0.9,
        centers=centers,
    )


@pytest.fixture
def sampled():
    """A network that holds a quarter of the centers, and the centers."""
    model, first = built(10)
    centers = SampledCenters(seed=2)
    centers.centers = first.copy()
    return model, centers


def test_sample_holds_the_classes_of_the_photos_and_others_at_random():
    rng, drawn = np.random.default_rng(0), []
    for _ in range(400):
        rows = sample(np.array([7, 3, 7]), CLASSES, 10, rng)
        assert len(rows) == 10 and (np.diff(rows) > 0).all()
        drawn += list(rows)
    counts = np.bincount(drawn, minlength=CLASSES)
    assert (counts[[3, 7]] == 400).all()
    others = np.delete(counts, [3, 7])  # 400 * 8 / 38 = 84 each, with a deviation of 8
    assert others.min() > 50 and others.max() < 120


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_sample_of_all_trains_as_the_whole_layer_does(optimizer):
    model, _ = built(CLASSES)
    train(model, labelled(5), epochs=5, optimizer=optimizer)
    other, first = built(CLASSES)
    centers = SampledCenters(seed=2)
    centers.centers = first.copy()
    other.layers[-1].layers[-1].kernel.assign(np.zeros_like(first))
    batches = centers.batches(labelled(5), CLASSES)
    train(other, batches, centers, epochs=5, optimizer=optimizer)
    assert np.abs(centers.centers - first).max() > 0.01
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_step_changes_the_centers_of_its_sample_and_no_others(sampled):
    model, centers = sampled
    batches = list(centers.batches(labelled(1), 10))
    rows, first = centers._samples[0], centers.centers.copy()
    train(model, batches, centers, epochs=1)
    changed = np.abs(centers.centers - first).max(axis=(1, 2)) > 0
    assert np.flatnonzero(changed).tolist() == rows.tolist()
    assert set(Y) & set(rows) and len(rows) == 10
    for moments in centers._moments:
        assert np.flatnonzero(np.abs(moments).max(axis=(1, 2)) > 0).tolist() == rows.tolist()


def test_loss_of_a_step_is_that_of_the_paper_over_its_sample(sampled):
    model, centers = sampled
    [(photos, labels, _)] = labelled(1)
    vectors = Embedder(keras.Model(model.inputs, model.layers[-2].output)).embed(photos)
    seen = []
    batches = list(centers.batches([(photos, labels, np.ones(4, np.float32))], 10))
    rows, first = centers._samples[0], centers.centers.copy()
    train(model, batches, centers, epochs=1, on_progress=lambda *a: seen.append(a[1]["loss"]))
    y = np.searchsorted(rows, labels[:, 0])
    wanted = from_the_paper(vectors, first[rows], y, MARGINS[rows], SCALE).mean()
    assert seen[0] == pytest.approx(wanted, rel=1e-3)


def test_logits_are_those_of_a_network_with_all_centers(sampled):
    model, centers = sampled
    whole, first = built(CLASSES)
    np.testing.assert_allclose(centers.centers, first)
    np.testing.assert_allclose(
        centers.logits(model, PHOTOS), Embedder(whole).embed(PHOTOS), atol=1e-4
    )


def test_training_that_stops_goes_on_as_if_it_had_not(tmp_path):
    def ended(stop):
        model, first = built(10)
        centers = SampledCenters(seed=2)
        centers.centers = first.copy()

        def save(epoch, logs, model):
            fit_loop.save(model, str(tmp_path))
            centers.save(str(tmp_path))
            return epoch == stop

        every = labelled(6)
        train(model, centers.batches(every, 10), centers, epochs=6, on_progress=save)
        if stop:
            model, centers = fit_loop.load(str(tmp_path)), SampledCenters(seed=2)
            centers.load(str(tmp_path))
            batches = centers.batches(every[stop:], 10, stop)
            train(model, batches, centers, epochs=6, done=stop)
        return [centers.centers, *centers._moments, *model.layers[-2].get_weights()]

    for one, other in zip(ended(0), ended(2), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_step_gets_its_sample_whether_keras_asks_for_the_batch_before_or_after(sampled):
    model, centers = sampled
    centers.set_model(model)
    kernel = model.layers[-1].layers[-1].kernel
    centers._variables = lambda: [kernel]
    stream = centers.batches(labelled(3), 10)
    labels = [next(stream)[1]]  # before its step begins
    seen = []
    for step in range(3):
        centers.on_train_batch_begin(step)
        if step:
            labels.append(next(stream)[1])  # after
        seen.append(centers._rows)
    for rows, one, (_, wanted, _) in zip(seen, labels, labelled(3), strict=True):
        np.testing.assert_array_equal(rows[one[:, 0].astype(int)], wanted[:, 0])
        np.testing.assert_array_equal(one[:, 1], wanted[:, 1])
    assert next(stream, None) is None

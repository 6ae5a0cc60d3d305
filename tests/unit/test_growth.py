"""The phase metric at one size after the other: what carries over, and what is refused."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from landmark_ray import cli
from landmark_ray.bundle.network_files import read_trunk, trunk_info, write_trunk
from landmark_ray.config import Config
from landmark_ray.config.training import TrainConfig
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.whitening import unit_length
from landmark_ray.models import arcface, fit_loop, growth, metric, networks, small
from landmark_ray.models.augmentation import build_augmentation
from landmark_ray.models.classification import split_classifier
from landmark_ray.models.embedding import Embedder
from landmark_ray.models.sampled_centers import SampledCenters
from landmark_ray.models.specs import AugmentationOptions
from landmark_ray.training import fit_network
from landmark_ray.training.fit_network import Metric, TrainSchedule, learn

NOISE = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), np.uint8)
PHOTOS = np.stack([Image.fromarray(n).resize((64, 64), Image.Resampling.BICUBIC) for n in NOISE])
"""Smooth, so that they show the same at each size."""
Y = np.repeat(np.arange(3, dtype=np.int32), 4)
ERASING = AugmentationOptions(flip=False, crop=0, rotation=0, colour=0, erase=0.5)
MARGINS = np.full(3, 0.2, np.float32)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """One block of `small`, which traces in a third of the time."""
    monkeypatch.setattr(small, "WIDTHS", (8, 16))


def built(size, sample=None):
    """A classifier at a size, and the first centers."""
    keras.utils.set_random_seed(1)
    trunk = networks.build_trunk("small", weights=None, size=size, input_size=64)
    vary = build_augmentation(ERASING, 3)
    options = {"classes": 3, "features": 8, "scale": 10.0, "augmentation": vary}
    return metric.build(trunk, PHOTOS, Y, sample=sample, **options)


def batches(epochs):
    """Two steps of an epoch."""
    for epoch in epochs:
        for step in range(2):
            rows = np.random.default_rng([epoch, step]).integers(0, 12, 2)
            yield PHOTOS[rows], Y[rows], np.ones(2, np.float32)


def arrays(variables):
    return [keras.ops.convert_to_numpy(v) for v in variables]


def test_grown_network_has_all_that_the_former_learned(tmp_path):
    model, _ = built(32)
    fit_loop.fit(
        model,
        fit_loop.Stream(arcface.with_margins(batches([0]), MARGINS), 2),
        rate=1e-3,
        epochs=2,
        until=1,
        warmup=0.1,
        options=TrainConfig(),
        on_progress=lambda *_: None,
        loss=arcface.ArcFace(10.0),
        average=0.9,
    )
    assert float(model.optimizer.learning_rate) > 1e-4, "the rate fell as if this were all"
    larger = growth.grown(model, 64)
    assert [networks.describe(split_classifier(m)[0]).size for m in (model, larger)] == [32, 64]
    assert growth.grown(larger, 64) is larger
    for old, new in ((model, larger), (model.optimizer, larger.optimizer)):
        for one, other in zip(arrays(old.variables), arrays(new.variables), strict=True):
            np.testing.assert_array_equal(one, other)
    assert int(larger.optimizer.iterations) == 2
    assert any(v.any() for v in arrays(larger.optimizer.variables)[2:])
    before, after = (Embedder(split_classifier(m)[0]).embed(PHOTOS) for m in (model, larger))
    cosines = unit_length(before - before.mean(axis=0)) @ unit_length(after - after.mean(axis=0)).T
    assert (cosines.argmax(axis=1) == np.arange(12)).all(), "another photo is nearer"
    assert np.diag(cosines).mean() > 0.7
    folder = Store(str(tmp_path))
    write_trunk(folder, "trunk", split_classifier(larger)[0])
    assert trunk_info(folder).size == 64
    np.testing.assert_allclose(Embedder(read_trunk(folder)).embed(PHOTOS), after, atol=1e-5)


class Lost(Exception):
    """What ends a worker."""


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """Train a network at two sizes, by a worker that is lost before it has stored an epoch."""
    monkeypatch.setattr(fit_network, "stream", lambda root, photos, epochs, *_: batches(epochs))
    config = Config.model_validate({"resize": {"size": 64}, "train": {"network": "small"}})

    def run(root, lost=None):
        centers = SampledCenters(seed=2)

        def build():
            model, centers.centers = built(32, sample=2)
            return model

        def figures(model):
            if (epochs := int(model.optimizer.iterations) // 2) == lost:
                raise Lost
            return {"size": networks.describe(split_classifier(model)[0]).size, "done": epochs}

        job = SimpleNamespace(config=config, root=Root(str(tmp_path / root)), group=0, name="trunk")
        job.readers = job.reader_cpus = job.report = lambda *_: None
        how = Metric(MARGINS, arcface.ArcFace(10.0), centers, [(32, 1), (64, 3)])
        schedule = TrainSchedule(3, 1e-3, patience=None, average=0.9)
        photos, validator = SimpleNamespace(batch=4, steps=2), SimpleNamespace(figures=figures)
        model, history = learn(job, photos, validator, build, schedule, how)
        return model, history, [*arrays(model.variables), centers.centers, *centers._moments]

    return run


def test_worker_that_is_lost_between_two_sizes_costs_nothing(ended):
    _, history, whole = ended("whole")
    for key, values in (("epoch", [1, 2, 3]), ("done", [1, 2, 3]), ("size", [32, 64, 64])):
        assert [entry[key] for entry in history] == values
    with pytest.raises(Lost):
        ended("parts", lost=2)
    model, again, parts = ended("parts")
    assert [entry["epoch"] for entry in again] == [1, 2, 3]
    assert [entry["size"] for entry in again] == [32, 64, 64]
    assert float(model.optimizer.learning_rate) == pytest.approx(0, abs=1e-9)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


PHASES = ("--train.phases", "metric,head")


@pytest.mark.parametrize("option", ["metric_sizes 112,224", "metric_proportions true"])
@pytest.mark.parametrize("phases", ["head", "head,finetune"])
def test_options_of_the_phase_metric_without_it_are_one_line(option, phases):
    words = f"--train.{option} --resize.fit pad --train.phases".split()
    with pytest.raises(UserError) as error:
        cli.parse(Config, [*words, phases], "a job")
    name = option.split()[0]
    says = f"{name} needs the phase metric; give phases metric,{phases}, or leave {name} out"
    assert says in str(error.value) and "\n" not in str(error.value)
    cli.parse(Config, [*words, f"metric,{phases}"], "a job")


def test_epochs_are_divided_over_the_sizes_and_the_last_have_the_rest():
    def ends(epochs, *sizes):
        phases = ("metric", "head")
        return TrainConfig(phases=phases, metric_epochs=epochs, metric_sizes=sizes).metric_ends

    assert ends(10) == ends(10, 64) == (10,)
    assert ends(10, 64, 128) == (5, 10)
    assert ends(11, 64, 96, 128) == (3, 7, 11)
    assert ends(3, 64, 96, 128) == (1, 2, 3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("128,64", "--train.metric_sizes: each size must be larger than the one before it"),
        ("64,64", "--train.metric_sizes: each size must be larger than the one before it"),
        ("8,64", "--train.metric_sizes: each size must be 16 pixels or more"),
        ("64,a", "--train.metric_sizes"),
        (
            "112,448",
            "must be at most resize.size, 224 pixels, the size of the stored photos, got 4",
        ),
        ("112,224 --train.metric_epochs 1", "metric_epochs 1 must be at least 2, one for each of"),
    ],
)
def test_sizes_that_cannot_be_are_one_line(options, says):
    with pytest.raises(UserError) as error:
        cli.parse(Config, [*PHASES, "--train.metric_sizes", *options.split()], "a job")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_sizes_count_only_where_they_are_given():
    plain, given = (
        TrainConfig(phases=("metric", "head"), metric_sizes=sizes) for sizes in ((), (64, 96))
    )
    assert "train.metric_sizes" not in plain.config_key("trunk"), "of roots of older versions"
    assert given.config_key("trunk")["train.metric_sizes"] == [64, 96]
    assert plain.config_key("embed") == given.config_key("embed")

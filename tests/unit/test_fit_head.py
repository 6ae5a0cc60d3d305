"""The head of a group: its batch and rate, its first weights, when it stops, and how it goes on."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from landmark_ray.bundle.network_files import CLOSED, GROUPS, head_info
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.kernels.calibration import VALIDATION_SMOOTHING, fit_temperature
from landmark_ray.models import backend
from landmark_ray.models.head_loop import HeadLoop
from landmark_ray.stages import train
from landmark_ray.stages.train import temperature
from landmark_ray.training import fit_head as fit_head_module
from landmark_ray.training import validation
from landmark_ray.training.checkpoints import Checkpoints
from landmark_ray.training.fit_head import fit_head, logits_of, loop_of, new_head
from landmark_ray.training.vectors import GroupVectors, Vectors


def side(count, seed, classes=3):
    rng = np.random.default_rng(seed)
    y = (np.arange(count) % classes).astype(np.int32)
    x = (np.eye(classes, 8)[y] + rng.normal(0, 0.5, (count, 8))).astype(np.float16)
    return Vectors(x, y, np.ones(count, np.float32), np.zeros(count, np.int32))


def group(train=60, validation=30):
    return GroupVectors(np.array([5, 7]), True, side(train, 0), side(validation, 1))


def config(**train):
    return Config.model_validate({"train": train})


def losses_are(monkeypatch, losses):
    """Let validation losses be these."""
    left = iter(losses)
    monkeypatch.setattr(HeadLoop, "validate", lambda *_: {"val_loss": next(left), "top1": 1.0})


def test_a_head_begins_with_the_means_of_its_classes():
    data = group(300)
    head = new_head(data, 1, config())
    unit = data.train.x.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    means = np.stack([unit[data.train.y == c].mean(axis=0) for c in range(3)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    nearest = (data.validation.x.astype(np.float64) @ means.T).argmax(axis=1)
    (logits,) = logits_of(head, data.validation.x)
    assert (logits.argmax(axis=1) == nearest).all()


def test_batch_and_rate_follow_from_the_vectors_unless_they_are_given():
    small, large = group(60), group(16_384)
    options = [loop_of(new_head(d, 1, config()), d, config()).options for d in (small, large)]
    assert [(o.batch, o.rate) for o in options] == [(64, 3e-3), (256, pytest.approx(6e-3))]
    given = config(head_batch=32, head_rate=0.01)
    loop = loop_of(new_head(large, 1, given), large, given)
    assert (loop.options.batch, loop.options.rate) == (32, 0.01)


@pytest.mark.parametrize(
    ("gpu", "precision", "classes", "policy"),
    [
        (True, "auto", 200_000, "mixed_bfloat16"),
        (True, "auto", 3, "float32"),
        (True, "float32", 200_000, "float32"),
        (False, "auto", 200_000, "float32"),
        (False, "mixed", 200_000, "mixed_bfloat16"),
    ],
)
def test_large_heads_multiply_in_16_bits_on_gpus(gpu, precision, classes, policy, monkeypatch):
    monkeypatch.setattr(backend, "on_gpu", lambda: gpu)
    empty = side(0, 0)
    data = GroupVectors(np.arange(classes - 1), True, side(3, 0), empty)
    head = new_head(data, 1, config(precision=precision))
    assert head.get_layer("logits").dtype_policy.name == policy


def test_training_stops_early_with_its_best_weights(monkeypatch):
    data, options = group(), config(head_patience=2, head_epochs=20)
    losses_are(monkeypatch, [0.9, 0.5, 0.7, 0.5, 0.1])
    seen = []
    head = new_head(data, 1, options)
    fit_head(head, data, options, lambda epoch, _: seen.append(epoch), reports=20)
    assert seen == [1, 2, 3, 4], "0.5 again is no lower"
    losses_are(monkeypatch, [0.9, 0.5])
    two = config(head_patience=2, head_epochs=20)
    loop = loop_of(new_head(data, 1, two), data, two)
    for number in range(2):
        loop.epoch(number)
    assert all(map(np.array_equal, head.get_weights()[:1], loop.get_weights()))


def test_without_validation_photos_all_epochs_count():
    data, options = group(validation=0), config(head_patience=1, head_epochs=7)
    seen = []
    head = new_head(data, 1, options)
    fit_head(head, data, options, lambda epoch, _: seen.append(epoch), reports=7)
    assert seen == list(range(1, 8))
    assert temperature(head, data, 0) == 1.0


def test_validation_photos_of_no_landmark_choose_neither_weights_nor_temperature():
    data = group()
    others = np.flatnonzero(data.validation.y == 2)
    data = GroupVectors(data.landmarks, True, data.train, data.validation.where(others))
    head, epochs = new_head(data, 1, config()), []
    fit_head(
        head, data, config(head_epochs=12, head_patience=1), lambda epoch, _: epochs.append(epoch)
    )
    assert epochs[-1] == 12
    assert temperature(head, data, 0) == 1


def test_a_temperature_is_fitted_to_no_more_logits_than_fit(monkeypatch):
    data, seen = group(validation=300), []
    head = new_head(data, 1, config())
    whole = temperature(head, data, 0)
    logits = np.concatenate(list(logits_of(head, data.validation.x)))
    wanted = fit_temperature(logits, data.validation.y, smoothing=VALIDATION_SMOOTHING)
    assert whole == wanted != 1.0
    monkeypatch.setattr(train, "logits_of", lambda head, x: seen.append(x) or logits_of(head, x))
    monkeypatch.setattr(validation, "MAX_LOGITS", 3 * 200 + 2)
    assert temperature(head, data, 0) == temperature(head, data, 0) != whole
    assert temperature(head, data, 0) == pytest.approx(whole, rel=0.3)
    assert {len(x) for x in seen} == {200}
    monkeypatch.setattr(validation, "MAX_LOGITS", 1)
    assert temperature(head, data, 0) > 0
    assert len(seen[-1]) == 1


def test_logits_are_computed_some_at_a_time(monkeypatch):
    data = group()
    head = new_head(data, 1, config())
    (whole,) = logits_of(head, data.validation.x)
    monkeypatch.setattr(fit_head_module, "CHUNK", 13)
    parts = list(logits_of(head, data.validation.x))
    assert [len(part) for part in parts] == [13, 13, 4]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-6)


def test_a_head_whose_training_diverged_is_refused_in_one_line():
    data, options = group(validation=0), config(head_rate=3e38, head_epochs=5)
    head = new_head(data, 1, options)
    train.require_finite(head)
    fit_head(head, data, options)
    with pytest.raises(UserError) as error:
        train.require_finite(head)
    assert str(error.value) == (
        "train: a training diverged, its outputs are not finite numbers: lower --train.head_rate, "
        "and run again with --redo train"
    )


@pytest.mark.parametrize("calibrate", [True, False])
def test_a_temperature_is_stored_if_it_is_to_be_calibrated_and_else_1(
    calibrate, tmp_path, monkeypatch
):
    monkeypatch.setattr(train, "read_group", lambda *_: group())
    monkeypatch.setattr(train, "pin_tensorflow", lambda cores: None)
    job = SimpleNamespace(
        config=config(calibrate=calibrate, head_epochs=1),
        root=Root(str(tmp_path)),
        group=1,
        name="group-1",
        cores=1,
        report=lambda done: None,
    )
    train.fit_group(job)
    assert (head_info(job.root.models, GROUPS, 1).temperature != 1) == calibrate
    assert head_info(job.root.models, CLOSED, 1).temperature == 1


class LostError(Exception):
    """The worker is killed."""


@pytest.mark.parametrize(("lost", "patience"), [(2, 3), (4, 3), (6, 8)])
def test_a_lost_training_goes_on_to_the_same_end(lost, patience, tmp_path):
    data, options = group(), config(head_patience=patience, head_epochs=8)

    def fitted(root, report):
        checkpoints = Checkpoints(Root(str(root)), "group-1", print)
        head = new_head(data, 1, options)
        fit_head(head, data, options, report, reports=4, checkpoints=checkpoints)
        return head.get_weights(), checkpoints.history

    def die(epoch, _):
        if epoch == lost:
            raise LostError

    whole, history = fitted(tmp_path / "whole", lambda *_: None)
    with pytest.raises(LostError):
        fitted(tmp_path / "lost", die)
    keras.utils.set_random_seed(99)
    seen = []
    again, continued = fitted(tmp_path / "lost", lambda epoch, _: seen.append(epoch))
    assert min(seen, default=lost + 1) > lost
    assert all(map(np.array_equal, whole, again))
    for name in ("epoch", "loss", "val_loss"):
        assert [entry[name] for entry in continued] == [entry[name] for entry in history]

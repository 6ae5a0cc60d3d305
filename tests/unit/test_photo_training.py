"""Pieces of training on photos that need no Ray."""

import io
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from landmark_ray.config import Config
from landmark_ray.data.examples import pixels
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.kernels.metrics import top1_of_sides
from landmark_ray.training import fit_network, validation
from landmark_ray.training.checkpoints import STAGING
from landmark_ray.training.fit_network import BestWeights
from landmark_ray.training.photo_stream import Pool
from landmark_ray.training.validation import Validator
from landmark_ray.training.worker import TrainingJob, catch_user_error


class Model:
    def __init__(self, value):
        self.value = value

    def get_weights(self):
        return [np.full(3, self.value), np.array([7], np.uint32)]


def test_best_weights_survive_a_checkpoint(tmp_path):
    best = BestWeights()
    for epoch, loss in enumerate([0.9, 0.4, 0.5], 1):
        best.update(loss, epoch, Model(epoch))
    best.save(str(tmp_path))
    again = BestWeights()
    again.load(str(tmp_path))
    assert (again.loss, again.epoch) == (0.4, 2)
    assert again.weights[0].tolist() == [2, 2, 2]
    assert again.weights[1].dtype == np.uint32


def test_a_checkpoint_without_validation_has_no_best(tmp_path):
    BestWeights().save(str(tmp_path))
    again = BestWeights()
    again.load(str(tmp_path))
    assert again.weights == []
    assert again.loss == np.inf


def test_example_of_another_size_is_refused():
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "JPEG")
    assert pixels(out.getvalue(), 64).shape == (64, 64, 3)
    with pytest.raises(UserError, match=r"64 x 64 pixels, and --resize.size is 224: run jobs/res"):
        pixels(out.getvalue(), 224)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (UserError("weights are missing: give a file"), "weights are missing: give a file"),
        (OSError(28, "No space left on device"), "no space left; free some"),
        (ValueError("h5: errno = 28, No space left on device"), "no space left; free some"),
    ],
)
def test_worker_says_in_words_what_a_person_can_mend(tmp_path, error, says):
    def loop(job):
        raise error

    assert says in catch_user_error(loop)(SimpleNamespace(root=Root(str(tmp_path))))


def test_worker_lets_other_errors_through():
    def loop(job):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        catch_user_error(loop)(None)
    assert catch_user_error(lambda job: None)(None) == ""


@pytest.mark.parametrize("rate", ["trunk_rate", "metric_rate", "rate"])
def test_a_network_that_diverged_ends_its_training_in_one_line(rate, tmp_path, monkeypatch):
    def two(*_):
        yield np.arange(2), np.zeros((2, 8, 8, 3), np.uint8)

    monkeypatch.setattr(validation, "decoded", two)
    index = np.arange(2, dtype=np.int32)
    pool = Pool(["a"], 0 * index, index, index, 2, Config(), False)
    outputs = np.array([[1, 2], [3, np.nan]], np.float32)
    network = SimpleNamespace(output_shape=(None, 2))
    root = Root(str(tmp_path))
    validator = Validator(root, pool, rate, lambda *_: outputs)
    for measure in (validator.figures, validator.temperature):
        said = catch_user_error(lambda job, measure=measure: measure(network))(None)
        assert said.startswith(f"{validation.RATES[rate]}: a training diverged")
        assert f"lower --train.{rate}, and run again with --redo" in said
    outputs[1, 1] = 4
    assert validator.figures(network)["top1"] == 0.5


def test_a_training_that_diverges_without_validation_photos_ends_before_its_checkpoint(
    tmp_path, monkeypatch
):
    photos = np.full((2, 8, 8, 3), np.nan, np.float32)
    batches = iter([(photos, np.zeros(2, np.int64), np.ones(2, np.float32))])
    monkeypatch.setattr(fit_network, "stream", lambda *_: batches)

    def network():
        layers = [keras.layers.Flatten(), keras.layers.Dense(3)]
        return keras.Sequential([keras.Input((8, 8, 3)), *layers])

    root = Root(str(tmp_path))
    none = Pool([], *np.zeros((3, 0), np.int32), 3, Config(), False)
    job = TrainingJob(Config(), root, None, 1, 1, 1)
    job = SimpleNamespace(**vars(job), name=job.name, report=lambda share: None)
    pool = SimpleNamespace(batch=4, steps=1)
    validator = Validator(root, none, "trunk_rate")
    with pytest.raises(UserError, match=r"trunk: a training diverged.* lower --train\.trunk_rate"):
        fit_network.learn(job, pool, validator, network, fit_network.TrainSchedule(2, 0.1, None))
    assert not root.files(STAGING)


def test_top1_of_both_kinds_of_images():
    right = np.array([True, False, True, True])
    own = np.array([True, True, False, False])
    assert top1_of_sides(right, own) == {"top1": 0.5, "other_top1": 1.0}
    assert top1_of_sides(right[2:], own[2:]) == {"other_top1": 1.0}
    assert top1_of_sides(right[:0], own[:0]) == {}

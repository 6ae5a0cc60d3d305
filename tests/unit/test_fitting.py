"""Loops that end early, go on from a checkpoint, and learn on two devices."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from landmark_ray.config.training import TrainConfig
from landmark_ray.models import classification, fit_loop
from landmark_ray.models.heads import build_head
from tests.conftest import COMPILE_FAST, REPO


def batches(steps, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        y = rng.integers(0, 3, 16).astype(np.int32)
        x = np.eye(3, 8, dtype=np.float32)[y] + rng.normal(0, 0.1, (16, 8)).astype(np.float32)
        yield x, y, np.ones(16, np.float32)


def train(head, epochs, report, done=0):
    stream = fit_loop.Stream(batches(5 * (epochs - done)), 5)
    options = {"rate": 1e-2, "epochs": epochs, "warmup": 0.1, "done": done}
    fit_loop.fit(head, stream, options=TrainConfig(), on_progress=report, **options)


def test_a_report_ends_the_training_or_lets_it_go_on():
    seen = []

    def report(epoch, figures, model):
        seen.append(epoch)
        assert {"loss", "accuracy", "step_s"} == set(figures)
        return epoch == 3

    train(build_head(8, 3), 6, report)
    assert seen == [1, 2, 3]


def test_training_that_ends_early_leaves_no_stream_behind():
    """A worker trains the next group in the same process."""
    closed = []

    def endless():
        try:
            yield from batches(10_000)
        finally:
            closed.append(True)

    head = build_head(8, 3)
    fit_loop.fit(
        head,
        fit_loop.Stream(endless(), 5),
        rate=1e-2,
        epochs=6,
        warmup=0.1,
        options=TrainConfig(),
        on_progress=lambda epoch, *_: epoch == 2,
    )
    del head
    keras.utils.clear_session()
    assert closed


def test_seconds_of_a_step_leave_out_the_first_of_an_epoch(monkeypatch):
    seen, now = [], iter([100.0, 103.0, 200.0, 206.0])
    monkeypatch.setattr(fit_loop.time, "monotonic", lambda: next(now))
    reporting = fit_loop.ProgressReporter(lambda _, figures, __: seen.append(figures), 1)
    reporting.set_params({"steps": 4, "epochs": 2})
    reporting.set_model(build_head(8, 3))
    for epoch in range(2):
        for step in range(4):
            reporting.on_train_batch_begin(step)
        reporting.on_epoch_end(epoch, {"loss": 1.0})
    assert seen == [{"loss": 1, "step_s": 1}, {"loss": 1, "step_s": 2}]


def test_one_step_has_no_seconds_besides_its_waiting():
    seen = []
    stream = fit_loop.Stream(batches(2), 1)
    fit_loop.fit(
        build_head(8, 3),
        stream,
        rate=1e-2,
        epochs=2,
        warmup=0.1,
        options=TrainConfig(),
        on_progress=lambda _, figures, __: seen.append(set(figures)),
    )
    assert seen == [{"loss", "accuracy"}] * 2


def test_checkpoint_goes_on_with_its_optimizer(tmp_path):
    head = build_head(8, 3, dropout=0)
    train(head, 4, lambda epoch, *_: epoch == 2)
    fit_loop.save(head, str(tmp_path))
    again = fit_loop.load(str(tmp_path))
    assert int(again.optimizer.iterations.numpy()) == 10
    seen = []
    train(again, 4, lambda epoch, *_: seen.append(epoch), done=2)
    assert seen == [3, 4]
    assert int(again.optimizer.iterations.numpy()) == 20
    assert float(again.optimizer.learning_rate.numpy()) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("precision", ["float32", "mixed"])
def test_weights_after_a_checkpoint_are_those_of_undisturbed_fits(tmp_path, precision, request):
    request.addfinalizer(lambda: classification.use_precision("float32"))
    classification.use_precision(precision)
    data, options = list(batches(20)), TrainConfig(weight_decay=0.9)

    def go_on(head, done, until):
        stream = fit_loop.Stream(iter(data[5 * done : 5 * until]), 5)
        how = {"rate": 0.1, "epochs": 4, "warmup": 0.1, "on_progress": lambda *_: None}
        return fit_loop.fit(head, stream, **how, options=options, done=done, until=until)

    heads = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        heads.append(build_head(8, 3, kind="linear", dropout=0))
    whole = go_on(heads[0], 0, 4)
    fit_loop.save(go_on(heads[1], 0, 2), str(tmp_path))
    again = go_on(fit_loop.load(str(tmp_path)), 2, 4)
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_dropout_goes_on_where_the_checkpoint_left_it(tmp_path):
    x = np.ones((4, 8), np.float32)
    head = build_head(8, 3, dropout=0.5)
    train(head, 1, lambda *_: False)
    fit_loop.save(head, str(tmp_path))
    again = fit_loop.load(str(tmp_path))
    for _ in range(3):
        assert np.array_equal(head(x, training=True), again(x, training=True))


TWO_DEVICES = """
import os, sys, tempfile
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"  # for JAX
import numpy as np
if os.environ["KERAS_BACKEND"] == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, 2 * [tf.config.LogicalDeviceConfiguration()])
import keras
from landmark_ray.config.training import TrainConfig
from landmark_ray.models import classification as training
from landmark_ray.models import fit_loop as fitting
from landmark_ray.models.augmentation import build_augmentation
from landmark_ray.models.backend import side_by_side
from landmark_ray.models.embedding import Embedder
from landmark_ray.models.heads import build_head
from landmark_ray.models.networks import build_trunk

options = TrainConfig(weight_decay=0)
rng = np.random.default_rng(0)
photos = rng.integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)

def batches():
    while True:
        y = rng.integers(0, 2, 8).astype(np.int32)
        noisy = photos[y] + rng.normal(0, 20, (8, 32, 32, 3))
        yield np.clip(noisy, 0, 255).astype(np.uint8), y, np.ones(8, np.float32)

def build():
    trunk = build_trunk("small", weights=None, input_size=32)
    vary = build_augmentation(options.augment, 0)
    return training.build_classifier(trunk, build_head(192, 2), vary, learn_statistics=True)

def fit(model, done, epochs):
    fitting.fit(model, fitting.Stream(batches(), 4), rate=5e-3, epochs=epochs, done=done,
                warmup=0.1, options=options, on_progress=lambda *_: logs.append(_[1]["loss"]))

def replicas(model):
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        return model.distribute_strategy.num_replicas_in_sync
    return len(model.trainable_variables[0].value.sharding.device_set)

logs = []
devices = keras.distribution.list_devices("cpu")
with side_by_side(devices):
    model = build()
    fit(model, 0, 6)
    assert replicas(model) == 2
with tempfile.TemporaryDirectory() as place:
    fitting.save(model, place)
    alone = fitting.load(place)
    with side_by_side(devices):
        again = fitting.load(place)
        assert replicas(again) == 2
        fit(again, 4, 6)
trunk, head = training.split_classifier(again)
found, wanted = Embedder(model).embed(photos), alone(photos.astype(np.float32), training=False)
assert found.shape == (2, 2) and np.allclose(found, wanted, atol=1e-4), (found, wanted)
assert logs[5] < logs[0], logs
print("both devices")
"""


def run(code: str, backend: str) -> str:
    """Run a script under a backend of Keras, and return what it prints."""
    if backend == "jax" and not importlib.util.find_spec("jax"):
        pytest.skip("jax is not installed")
    env = os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"} | COMPILE_FAST
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=REPO,
        env=env,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


LONG = pytest.mark.long  # a minute each: two processes of a backend, or one of each


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=LONG)])
def test_two_devices_learn_as_one(backend):
    assert "both devices" in run(TWO_DEVICES, backend)


OTHER_BACKEND = """
import sys
from pathlib import Path
import numpy as np
from landmark_ray.bundle.network_files import GROUPS, TRUNK, HeadInfo, read_head, read_trunk
from landmark_ray.bundle.network_files import head_infos, write_head, write_trunk
from landmark_ray.config.training import TrainConfig
from landmark_ray.data.store import Store
from landmark_ray.models import classification, fit_loop
from landmark_ray.models.augmentation import build_augmentation
from landmark_ray.models.embedding import Embedder
from landmark_ray.models.heads import build_head
from landmark_ray.models.networks import build_trunk

first, place = FIRST, FOLDER
folder = Store(place + "/models")
rng = np.random.default_rng(0)
photos = rng.integers(0, 255, (8, 32, 32, 3)).astype(np.uint8)
y = np.arange(8, dtype=np.int32) % 2
options = TrainConfig(weight_decay=0)
losses = []

def fit(model, done, epochs, end=99):
    def batches():
        while True:
            yield photos, y, np.ones(8, np.float32)
    fit_loop.fit(model, fit_loop.Stream(batches(), 2), rate=5e-3, epochs=epochs, done=done,
                 warmup=0.1, options=options,
                 on_progress=lambda n, logs, _: losses.append(logs["loss"]) or n == end)

if first:
    trunk = build_trunk("small", weights=None, input_size=32)
    model = classification.build_classifier(
        trunk, build_head(192, 2, dropout=0), build_augmentation(options.augment, 0))
    fit(model, 0, 4, end=2)
    fit_loop.save(model, place)
    trunk, head = classification.split_classifier(model)
    write_trunk(folder, TRUNK, trunk)
    write_head(folder, GROUPS, head, HeadInfo(
        group=1, landmarks=(1, 2), other=False, trunk=TRUNK, features=192, kind="linear",
        scale=16, temperature=1, report={}))
else:
    model = fit_loop.load(place)
    print("steps", int(model.optimizer.iterations))
    trunk = read_trunk(folder, TRUNK)
    head = read_head(folder, GROUPS, head_infos(folder, GROUPS)[0])
vectors = Embedder(trunk).embed(photos)
print("logits", *Embedder(model).embed(photos).ravel().tolist())
print("bundle", *np.asarray(head(vectors, training=False)).ravel().tolist())
if not first:
    fit(model, 2, 4)
    print("losses", *losses)
"""


@pytest.mark.parametrize(
    ("writer", "reader"),
    [("tensorflow", "jax"), pytest.param("jax", "tensorflow", marks=LONG)],
)
def test_checkpoint_and_bundle_of_one_backend_load_under_the_other(writer, reader, tmp_path):
    def lines(first, backend):
        code = OTHER_BACKEND.replace("FIRST", str(first)).replace("FOLDER", repr(str(tmp_path)))
        words = (line.split() for line in run(code, backend).splitlines())
        return {name: [float(v) for v in rest] for name, *rest in words}

    written, read = lines(True, writer), lines(False, reader)
    assert read["steps"] == [4]
    for name in ("logits", "bundle"):
        assert read[name] == pytest.approx(written[name], abs=2e-4)
    assert len(read["losses"]) == 2 and np.isfinite(read["losses"]).all()

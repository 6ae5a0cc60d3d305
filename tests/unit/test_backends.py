"""Networks learn on two devices as on one, and go from one backend of Keras to the other."""

import contextlib
import importlib.util
import io
import os
import subprocess
import sys

import keras
import pytest

from landmark_ray.models.backend import dividing
from tests.conftest import COMPILE_FAST, REPO

TWO_DEVICES = """
import itertools, os, sys, tempfile
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

options = TrainConfig(weight_decay=0)
rng = np.random.default_rng(0)
photos = rng.integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)

def batches():
    while True:
        y = rng.integers(0, 2, 8).astype(np.int32)
        noisy = photos[y] + rng.normal(0, 20, (8, 32, 32, 3))
        yield np.clip(noisy, 0, 255).astype(np.uint8), y, np.ones(8, np.float32)

def trunk_of(features, *more):
    return keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 255),
                             keras.layers.Conv2D(features, 3), *more,
                             keras.layers.GlobalAveragePooling2D()])

def build():
    trunk = trunk_of(16, keras.layers.BatchNormalization(momentum=0.8), keras.layers.ReLU())
    vary = build_augmentation(options.augment, 0)
    return training.build_classifier(trunk, build_head(16, 2), vary, learn_statistics=True)

def fit(model, done, epochs):
    fitting.fit(model, fitting.Stream(batches(), 4), rate=5e-3, epochs=epochs, done=done,
                warmup=0.1, options=options, on_progress=lambda *_: logs.append(_[1]))

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
assert (trunk.output_shape, head.output_shape) == ((None, 16), (None, 2))
found, wanted = Embedder(model).embed(photos), alone(photos.astype(np.float32), training=False)
assert found.shape == (2, 2) and np.allclose(found, wanted, atol=1e-4), (found, wanted)
assert logs[5]["loss"] < logs[0]["loss"] and 0.4 < logs[5]["accuracy"] <= 1, logs

batch = next(batches())  # in every step, as the strategies of TensorFlow peek at others
steps = TrainConfig(weight_decay=0, optimizer="sgd")  # the length of a step is the gradient's

def learned():
    keras.utils.set_random_seed(3)
    trunk, head = trunk_of(8), build_head(8, 2, dropout=0)
    model, losses = training.build_classifier(trunk, head, learn_statistics=False), []
    first = model.get_weights()
    fitting.fit(model, fitting.Stream(itertools.repeat(batch), 4), rate=0.01, epochs=2, done=0,
                warmup=0.1, options=steps, on_progress=lambda *_: losses.append(_[1]["loss"]))
    return losses, [(a, b - a) for a, b in zip(first, model.get_weights())]

with side_by_side(devices):
    losses, weights = learned()
losses_of_one, weights_of_one = learned()
assert np.allclose(losses, losses_of_one, rtol=1e-3), (losses, losses_of_one)
moved = 0
for (a, change), (b, wanted) in zip(weights, weights_of_one, strict=True):
    assert (a == b).all()
    moved += np.abs(wanted).max() > 0
    assert np.linalg.norm(change - wanted) <= 1e-2 * np.linalg.norm(wanted) + 1e-7, a.shape
assert moved >= 3
print("both devices")
"""


def run(code: str, backend: str) -> str:
    """Run a script in a process with a backend of Keras, and return what it prints."""
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


def run_here(code: str) -> str:
    """Run a script in this process, and return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, {})
    return out.getvalue()


LONG = pytest.mark.long  # a minute each: two processes of a backend, or one of each


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=LONG)])
def test_two_devices_learn_as_one(backend):
    assert "both devices" in run(TWO_DEVICES, backend)


@pytest.mark.parametrize(
    ("backend", "batch", "used"),
    [("jax", 32, 4), ("jax", 7, 1), ("jax", 6, 3), ("tensorflow", 7, 4)],
)
def test_jax_uses_as_many_devices_as_divide_a_batch(backend, batch, used, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    assert dividing(["a", "b", "c", "d"], batch) == ["a", "b", "c", "d"][:used]


def test_networks_that_jax_trained_are_served_by_tensorflow():
    code = "import landmark_ray.serving, keras; print(keras.backend.backend())"
    assert run(code, "jax") == "tensorflow\n"


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
from landmark_ray.models.specs import AugmentationOptions

first, place = FIRST, FOLDER
folder = Store(place + "/models")
rng = np.random.default_rng(0)
photos = rng.integers(0, 255, (8, 32, 32, 3)).astype(np.uint8)
y = np.arange(8, dtype=np.int32) % 2
options = TrainConfig(weight_decay=0, augment=AugmentationOptions.off())
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
        trunk, build_head(192, 2, dropout=0), build_augmentation(options.augment, 0),
        learn_statistics=False)
    fit(model, 0, 4, end=2)
    fit_loop.save(model, place)
    losses.clear()
    fit(fit_loop.load(place), 2, 4)
    print("losses", *losses)
    model = fit_loop.load(place)
    trunk, head = classification.split_classifier(model)
    write_trunk(folder, TRUNK, trunk)
    write_head(folder, GROUPS, head, HeadInfo(
        group=1, landmarks=(1, 2), other=False, trunk=TRUNK, features=192, kind="linear",
        scale=16, temperature=1, report={}))
else:
    model = fit_loop.load(place)
    print("steps", int(model.optimizer.iterations))
    print("compiled", int(model.jit_compile))
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
        here = backend == keras.backend.backend()
        said = run_here(code) if here else run(code, backend)
        words = (line.split() for line in said.splitlines())
        return {name: [float(v) for v in rest] for name, *rest in words}

    written, read = lines(True, writer), lines(False, reader)
    assert read["steps"] == [4]
    assert read["compiled"] == [reader == "jax"], "XLA is for the machine that goes on"
    for name in ("logits", "bundle"):
        assert read[name] == pytest.approx(written[name], abs=2e-4)
    assert len(read["losses"]) == 2
    assert read["losses"] == pytest.approx(written["losses"], rel=1e-3)

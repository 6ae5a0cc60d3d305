"""The compiled loop of heads: equal to Keras's own, on both backends, and from a checkpoint."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from landmark_ray.kernels import head_batches
from landmark_ray.models import classification
from landmark_ray.models.head_loop import HeadLoop, HeadOptions
from landmark_ray.models.heads import build_head, class_means, start_at_means
from landmark_ray.models.samples import Samples
from tests.conftest import COMPILE_FAST, REPO


def vectors(count=50, features=8, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = (np.arange(count) % classes).astype(np.int32)
    x = np.eye(classes, features)[y] + rng.normal(0, 0.4, (count, features))
    return x.astype(np.float16), y, rng.uniform(0.5, 1.5, count).astype(np.float32)


def loop_of(head, data, **options):
    return HeadLoop(head, Samples.send(*data), HeadOptions(**{"rate": 1e-2, "epochs": 4} | options))


@pytest.mark.parametrize("kind", ["cosine", "linear"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_steps_equal_those_of_keras(kind, optimizer):
    data = x, y, weights = vectors()
    keras.utils.set_random_seed(1)
    head, other = (build_head(8, 3, dropout=0, kind=kind) for _ in range(2))
    other.set_weights(head.get_weights())
    loop = loop_of(head, data, batch=16, optimizer=optimizer, weight_decay=0.1, seed=3)
    figures = [loop.epoch(number) for number in range(4)]
    assert loop.steps == 4
    schedule = classification.schedule(1e-2, 16, 1)
    other.compile(classification.optimizer(optimizer, schedule, 0.1), classification.loss(0.1))
    for number in range(4):
        order = np.random.default_rng([3, number]).permutation(50)
        for rows in np.array_split(order, 4):
            other.train_on_batch(x[rows].astype(np.float32), y[rows], weights[rows])
    for mine, theirs in zip(loop.get_weights(), other.trainable_variables, strict=True):
        np.testing.assert_allclose(mine, ops.convert_to_numpy(theirs), atol=2e-5)
    assert figures[-1]["loss"] < figures[0]["loss"]
    assert "vector_s" not in figures[0] and figures[1]["vector_s"] > 0


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_training_from_a_checkpoint_equals_training_in_one_go(kind, tmp_path):
    def begun():
        keras.utils.set_random_seed(1)
        return loop_of(build_head(8, 3, dropout=0.5, kind=kind), vectors(), batch=16)

    whole, first, again = begun(), begun(), begun()
    for number in range(4):
        whole.epoch(number)
    for number in range(2):
        first.epoch(number)
    first.save(str(tmp_path))
    again.load(str(tmp_path))
    for number in range(2, 4):
        again.epoch(number)
    assert all(map(np.array_equal, whole.get_weights(), again.get_weights()))
    unlike = begun()
    for number in (0, 1, 3, 2):
        unlike.epoch(number)
    assert not np.array_equal(whole.get_weights()[0], unlike.get_weights()[0])


def test_dropout_differs_from_step_to_step():
    """Two epochs of one step at a rate of almost 0: only the dropped features differ."""
    loop = loop_of(build_head(8, 3, dropout=0.5), vectors(16), batch=16, rate=1e-9)
    assert loop.epoch(0)["loss"] != pytest.approx(loop.epoch(0)["loss"], abs=1e-4)


def test_validation_by_hand():
    x, y, weights = vectors(40, classes=4)
    head = build_head(8, 4, kind="linear", dropout=0.5)
    logits = np.asarray(head(x.astype(np.float32), training=False), np.float64)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(40), y]
    right = logits.argmax(axis=1) == y
    samples = Samples.send(x, y, weights)
    figures = loop_of(head, (x, y, weights), batch=16).validate(samples, 3)
    assert figures["val_loss"] == pytest.approx((losses * weights).sum() / weights.sum(), rel=1e-4)
    assert figures["top1"] == pytest.approx(right[y < 3].mean())
    assert figures["other_top1"] == pytest.approx(right[y == 3].mean())
    none = Samples.send(x[:0], y[:0], weights[:0])
    assert loop_of(head, (x, y, weights), batch=16).validate(none, 3) == {}


def test_a_cosine_head_begins_as_a_nearest_mean_classifier():
    x, y, _ = vectors(300, classes=5, seed=2)
    head = build_head(8, 5, kind="cosine")
    start_at_means(head, x, y, scale=20.0)
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    means = np.stack([unit[y == label].mean(axis=0) for label in range(5)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    nearest = ((unit[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    logits = np.asarray(head(x.astype(np.float32), training=False))
    np.testing.assert_allclose(logits, 20 * unit @ means.T, atol=1e-3)
    assert (logits.argmax(axis=1) == nearest).all()
    linear = build_head(8, 5, kind="linear")
    start_at_means(linear, x, y, scale=20.0)
    assert (np.asarray(linear(unit, training=False)).argmax(axis=1) == nearest).all()


def test_a_class_without_vectors_keeps_its_weights(monkeypatch):
    x, y, _ = vectors(30)
    head = build_head(8, 4)
    before = head.get_layer("logits").kernel.numpy()
    start_at_means(head, x, y, scale=1.0)
    after = head.get_layer("logits").kernel.numpy()
    assert (after[:, 3] == before[:, 3]).all() and not np.isclose(after, before)[:, :3].all()
    whole = class_means(x, y, 3)
    monkeypatch.setattr("landmark_ray.models.heads.CHUNK", 7)
    np.testing.assert_allclose(class_means(x, y, 3), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("vectors", "batch"),
    [(1, 64), (420, 64), (8191, 64), (8192, 128), (100_000, 1024), (10**7, 4096)],
)
def test_batches_grow_with_the_vectors(vectors, batch):
    assert head_batches.batch_size(vectors) == batch


def test_the_rate_grows_with_the_root_of_the_batch():
    assert head_batches.rate_of(3e-3, 64) == pytest.approx(3e-3)
    assert head_batches.rate_of(3e-3, 256) == pytest.approx(6e-3)


@pytest.mark.parametrize("count", [1, 2, 70, 129, 1000])
def test_batches_hold_each_vector_once_and_are_of_like_size(count):
    steps = -(-count // 64)
    order = np.random.default_rng(0).permutation(count)
    rows = head_batches.batches_of(order, steps, 64)
    assert rows[rows >= 0].tolist() == order.tolist()
    sizes = (rows >= 0).sum(axis=1)
    assert sizes[:steps].max() - sizes[:steps].min() <= 1 and not sizes[steps:].any()


def test_sizes_are_few_and_at_most_a_quarter_too_large():
    sizes = [head_batches.padded(number) for number in range(1, 1025)]
    assert all(n <= size <= 1.25 * n + 1 for n, size in enumerate(sizes, 1))
    assert len(set(sizes)) <= 4 * 10 + 2


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_products_in_16_bits_learn_the_same_weights(kind):
    data = vectors(200)
    exact, half = (
        build_head(8, 3, dropout=0, kind=kind, products=p) for p in ("float32", "bfloat16")
    )
    half.set_weights(exact.get_weights())
    loops = [loop_of(head, data, batch=32) for head in (exact, half)]
    figures = [[loop.epoch(n) for n in range(4)][-1] for loop in loops]
    assert half.trainable_variables[0].dtype == "float32"
    assert figures[1]["loss"] == pytest.approx(figures[0]["loss"], rel=0.02)
    assert figures[1]["loss"] != figures[0]["loss"]


BACKEND = """
import numpy as np
from landmark_ray.models.samples import Samples
from landmark_ray.models.head_loop import HeadLoop, HeadOptions
from landmark_ray.models.heads import build_head, start_at_means
rng = np.random.default_rng(0)
y = (np.arange(50) % 3).astype(np.int32)
x = (np.eye(3, 8)[y] + rng.normal(0, 0.4, (50, 8))).astype(np.float16)
head = build_head(8, 3, dropout=0)
start_at_means(head, x, y, 20.0)
samples = Samples.send(x, y, np.ones(50, np.float32))
loop = HeadLoop(head, samples, HeadOptions(batch=16, rate=1e-2, epochs=3))
found = [loop.epoch(n)["loss"] for n in range(3)] + [loop.validate(samples, 3)["val_loss"]]
print("losses", *found)
loop.save(FOLDER) if SAVE else loop.load(FOLDER)
print("weights", *loop.get_weights()[0].ravel())
"""


def test_jax_learns_the_same_and_reads_the_checkpoint(tmp_path):
    if not importlib.util.find_spec("jax"):
        pytest.skip("jax is not installed")

    def run(backend, save):
        code = BACKEND.replace("FOLDER", repr(str(tmp_path))).replace("SAVE", str(save))
        env = os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"} | COMPILE_FAST
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, env=env
        )
        assert done.returncode == 0, done.stderr[-2000:]
        lines = [line.split() for line in done.stdout.splitlines()]
        return {name: [float(v) for v in rest] for name, *rest in lines}

    tensorflow, jax = run("tensorflow", True), run("jax", False)
    assert jax["losses"] == pytest.approx(tensorflow["losses"], rel=1e-4)
    assert jax["weights"] == pytest.approx(tensorflow["weights"])

"""Loops that end early, and go on from a checkpoint."""

import keras
import numpy as np
import pytest

from landmark_ray.config.training import TrainConfig
from landmark_ray.models import arcface, classification, fit_loop
from landmark_ray.models.heads import build_head


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


@pytest.mark.parametrize("metric", [False, True])
def test_tensorflow_traces_a_step_once(metric, monkeypatch):
    """For a large network, a trace takes longer than all else until the second step."""
    head, traces = build_head(8, 3), []
    step = head.train_step
    monkeypatch.setattr(head, "train_step", lambda data: traces.append(data) or step(data))
    data, loss = batches(5), None
    if metric:
        data, loss = arcface.with_margins(data, np.zeros(3, np.float32)), arcface.ArcFace(8.0)
    fit_loop.fit(
        head,
        fit_loop.Stream(data, 5),
        rate=1e-2,
        epochs=1,
        warmup=0.1,
        options=TrainConfig(),
        on_progress=lambda *_: None,
        loss=loss,
    )
    assert len(traces) == 1


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
    reporting = fit_loop.ProgressReporter(lambda _, figures, __: seen.append(figures))
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

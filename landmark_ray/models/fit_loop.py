"""The training loop, which can continue from a checkpoint and reports its progress."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from landmark_ray.models import (  # noqa: F401 - registers the layers
    arcface,
    augmentation,
    classification,
    hub,
    layers,
    sampled_centers,
)
from landmark_ray.models.backend import of_any_shape, pays_to_compile
from landmark_ray.models.rectangles import takes_rectangles

ProgressCallback = Callable[[int, dict[str, float], keras.Model], bool | None]
"""Called with the number of finished epochs, the measured figures and the model. If it returns
True, the training ends."""

FILE, SEEDS = "model.keras", "seeds.npz"


@dataclass(frozen=True)
class Stream:
    """Batches of all remaining epochs, one after the other.

    Attributes:
        batches: Batches (x, y, weights) of arrays.
        steps: Number of batches in an epoch.
    """

    batches: Iterator[tuple[NDArray[Any], ...]]
    steps: int


class ProgressReporter(keras.callbacks.Callback):  # type: ignore[misc]
    """Calls back after every epoch.

    It adds the figure `step_s`, the mean seconds of a step, without the first step of an epoch,
    which waits for its data.
    """

    def __init__(self, on_progress: ProgressCallback) -> None:
        """Take the function to call."""
        super().__init__()
        self.on_progress = on_progress
        self.second = 0.0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Note when the second step begins."""
        if batch == 1:
            self.second = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Call back."""
        later, seconds = self.params["steps"] - 1, time.monotonic() - self.second
        figures = {k: float(v) for k, v in (logs or {}).items()}
        if later:
            figures["step_s"] = seconds / later
        self.model.stop_training = bool(self.on_progress(epoch + 1, figures, self.model))


def fit(
    model: keras.Model,
    data: Stream,
    *,
    rate: float,
    epochs: int,
    done: int = 0,
    until: int | None = None,
    warmup: float,
    options: Any,
    on_progress: ProgressCallback,
    loss: arcface.ArcFace | None = None,
    average: float | None = None,
    centers: sampled_centers.SampledCenters | None = None,
) -> keras.Model:
    """Train a model; a model from a checkpoint is already compiled and has its optimizer.

    Args:
        model: A new model, or one from a checkpoint.
        data: The batches, beginning with epoch number `done`.
        rate: Highest learning rate.
        epochs: Total number of epochs.
        done: Number of epochs that the model of the checkpoint was trained for.
        until: Number of epochs after which this part of the training ends; `epochs` when not given.
        warmup: Share of the epochs in which the learning rate rises.
        options: `TrainConfig`.
        on_progress: Called after every epoch.
        loss: ArcFace, whose labels hold margins; when not given, the smoothed cross-entropy of
            `options`.
        average: Momentum of an exponential average of the weights. The model has the average when
            this function ends, but not in `on_progress`, whose checkpoints hold both.
        centers: What drew samples for the batches, if the model holds some of the centers only.

    Returns:
        The model.
    """
    if not done:
        steps = epochs * data.steps
        model.compile(
            optimizer=classification.optimizer(
                options.optimizer,
                classification.schedule(rate, steps, min(int(warmup * steps), steps - 1)),
                options.weight_decay,
                average,
            ),
            loss=loss or classification.loss(options.smoothing),
            weighted_metrics=[arcface.accuracy if loss else "accuracy"],
            jit_compile=pays_to_compile(model),
        )
        model.optimizer.build(model.trainable_variables)
    _create_metrics(model)
    with _until_closed(data.batches) as batches:
        model.fit(
            of_any_shape(batches) if takes_rectangles(model) else batches,
            steps_per_epoch=data.steps,
            epochs=until or epochs,
            initial_epoch=done,
            verbose=0,
            shuffle=False,
            callbacks=[*filter(None, [centers]), ProgressReporter(on_progress)],
        )
    return model


def _create_metrics(model: keras.Model) -> None:
    """Create the variables of the metrics of a compiled model, whose optimizer has its own.

    TensorFlow traces a step a second time, which takes as long as the first time, if the first
    trace creates variables.
    """
    is_metric = isinstance(model.loss, arcface.ArcFace)
    labels = ops.zeros((1, 2)) if is_metric else ops.zeros((1,), "int32")
    model.compute_metrics(None, labels, ops.zeros((1, model.output_shape[-1])), ops.zeros((1,)))
    model.reset_metrics()


@contextlib.contextmanager
def _until_closed(batches: Iterator[Any]) -> Iterator[Iterator[Any]]:
    """Close a stream of batches at the end of the context, even if a thread still waits for one.

    A training that ends early leaves behind a thread of tf.data that prefetches. Without this, the
    stream and all that it holds would stay open while the process trains the next model.
    """
    lock, is_closed = threading.Lock(), False

    def stream() -> Iterator[Any]:
        while True:
            with lock:
                batch = None if is_closed else next(batches, None)
            if batch is None:
                return
            yield batch

    try:
        yield stream()
    finally:
        with lock:
            is_closed = True
            if isinstance(batches, Generator):
                batches.close()


def save(model: keras.Model, folder: str) -> None:
    """Write a checkpoint: the model, its optimizer, and the states of its random numbers."""
    hub.keep_positions(model)
    model.save(Path(folder) / FILE)
    np.savez(Path(folder) / SEEDS, *(ops.convert_to_numpy(v) for v in _seeds(model)))


def load(folder: str) -> keras.Model:
    """Read the model of a checkpoint; training continues as if it had never been stopped."""
    hub.register_classes_of(Path(folder) / FILE)
    model = keras.models.load_model(Path(folder) / FILE, safe_mode=True)  # runs no code of a file
    with np.load(Path(folder) / SEEDS, allow_pickle=False) as saved:
        # Keras 3.15 restarts all sequences of random numbers
        for variable, name in zip(_seeds(model), saved.files, strict=True):
            variable.assign(saved[name])
    classification.compile_as(model, model)
    return model


def _seeds(model: keras.Model) -> list[keras.Variable]:
    """Return the states of the random numbers that augmentation and dropout draw from."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]

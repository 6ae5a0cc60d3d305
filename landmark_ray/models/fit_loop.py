"""Training loops that go on from a checkpoint: batches in a seeded order, a report each epoch."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from landmark_ray.models import augmentation, classification, layers  # noqa: F401 - registers the layers

ProgressCallback = Callable[[int, dict[str, float], keras.Model], bool | None]
"""Told the number of finished epochs, what was measured, and the model; True ends the training."""

FILE, SEEDS = "model.keras", "seeds.npz"


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Arrays in batches; the order of an epoch follows from the seed and the epoch alone."""

    def __init__(
        self,
        x: NDArray[Any],
        y: NDArray[np.int32],
        weights: NDArray[np.float32],
        *,
        batch: int,
        seed: int,
        epoch: int = 0,
    ) -> None:
        """x: [N, ...]; y: [N]; weights: [N]; epoch: the first to come."""
        super().__init__()
        self.x, self.y, self.weights = x, y, weights
        self.batch, self.seed, self.epoch = batch, seed, epoch
        self._shuffle()

    def _shuffle(self) -> None:
        self.order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.x))

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self.x) // self.batch)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], ...]:
        """A batch."""
        rows = self.order[index * self.batch : (index + 1) * self.batch]
        return self.x[rows].astype(np.float32), self.y[rows], self.weights[rows]

    def on_epoch_end(self) -> None:
        """Another order for the next one."""
        self.epoch += 1
        self._shuffle()


@dataclass(frozen=True)
class Stream:
    """Batches of all epochs that are left, one after the other.

    Attributes:
        batches: (x, y, weights), as arrays.
        steps: batches an epoch.
    """

    batches: Iterator[tuple[NDArray[Any], ...]]
    steps: int

    def __len__(self) -> int:
        """Batches an epoch."""
        return self.steps


class ProgressReporter(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports every few epochs, and after the last.

    `step_s` is the seconds of a step, but for an epoch's first one, which waits for its data.
    """

    def __init__(self, on_progress: ProgressCallback, every: int) -> None:
        """report: told; every: epochs."""
        super().__init__()
        self.on_progress, self.every = on_progress, every
        self.second = 0.0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Note when the second step begins."""
        if batch == 1:
            self.second = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """ProgressCallback, if it is time."""
        done, later = epoch + 1, self.params["steps"] - 1
        seconds = time.monotonic() - self.second
        if done % self.every == 0 or done == self.params["epochs"]:
            figures = {k: float(v) for k, v in (logs or {}).items()}
            if later:
                figures["step_s"] = seconds / later
            self.model.stop_training = bool(self.on_progress(done, figures, self.model))


def fit(
    model: keras.Model,
    data: Batches | Stream,
    *,
    rate: float,
    epochs: int,
    done: int = 0,
    warmup: float,
    options: Any,
    on_progress: ProgressCallback,
    every: int = 1,
) -> keras.Model:
    """Train a model; one from a checkpoint brings its optimizer along.

    Args:
        model: compiled already, if it is from a checkpoint.
        data: its first epoch is `done`.
        rate: highest learning rate.
        epochs: in all.
        done: epochs that the checkpoint has behind it.
        warmup: share of the epochs in which the rate rises.
        options: `TrainConfig`.
        report: told after every so many epochs.
        every: so many.
    """
    if not done:
        steps = epochs * len(data)
        model.compile(
            optimizer=classification.optimizer(
                options.optimizer,
                classification.schedule(rate, steps, min(int(warmup * steps), steps - 1)),
                options.weight_decay,
            ),
            loss=classification.loss(options.smoothing),
            weighted_metrics=["accuracy"],
        )
    common: dict[str, Any] = {"epochs": epochs, "initial_epoch": done, "verbose": 0}
    common["callbacks"] = [ProgressReporter(on_progress, every)]
    if isinstance(data, Stream):
        with _until_closed(data.batches) as batches:
            model.fit(batches, steps_per_epoch=len(data), shuffle=False, **common)
    else:
        model.fit(data, **common)
    return model


@contextlib.contextmanager
def _until_closed(batches: Iterator[Any]) -> Iterator[Iterator[Any]]:
    """Close a stream of batches at the end of the context, even if a thread still waits for one.

    A training that ends early leaves a thread of tf.data behind, which prefetches: without this,
    the stream would stay open, with all that it holds, while its process trains the next model.
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
    """A checkpoint: the model with its optimizer, and where its random numbers are."""
    model.save(Path(folder) / FILE)
    np.savez(Path(folder) / SEEDS, *(keras.ops.convert_to_numpy(v) for v in _seeds(model)))


def load(folder: str) -> keras.Model:
    """The model of a checkpoint: trained on, it does as if it had never been stopped."""
    model = keras.models.load_model(Path(folder) / FILE, safe_mode=True)  # runs no code of a file
    with np.load(Path(folder) / SEEDS, allow_pickle=False) as saved:
        # Keras 3.15 begins all sequences anew
        for variable, name in zip(_seeds(model), saved.files, strict=True):
            variable.assign(saved[name])
    return model


def _seeds(model: keras.Model) -> list[keras.Variable]:
    """States of the sequences of random numbers that augmentation and dropout draw from."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]

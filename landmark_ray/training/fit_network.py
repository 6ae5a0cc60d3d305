"""Training of a whole network on photos, in a worker of Ray Train.

The training photos come from Ray Data (`feeding`); after each epoch the validation photos are
judged and a checkpoint is left.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from numpy.typing import NDArray

from landmark_ray.config import Config
from landmark_ray.runtime.resources import pin_tensorflow
from landmark_ray.training import worker
from landmark_ray.training.photo_stream import Pool, stream
from landmark_ray.training.validation import Judge

if TYPE_CHECKING:
    import keras

TELL_EVERY_S = 1.0


@dataclass(frozen=True)
class Course:
    """How a training runs.

    Attributes:
        epochs: at most.
        rate: the highest learning rate.
        patience: epochs without a lower validation loss that end it; the best weights win. None:
            all epochs, and the last weights.
    """

    epochs: int
    rate: float
    patience: int | None


@dataclass
class Best:
    """The weights of the epoch with the lowest validation loss."""

    loss: float = float("inf")
    epoch: int = 0
    weights: list[NDArray[Any]] = field(default_factory=list)

    def see(self, loss: float, epoch: int, model: "keras.Model") -> None:
        """Keep the weights, if they are better."""
        if loss < self.loss:
            self.loss, self.epoch, self.weights = loss, epoch, model.get_weights()

    def save(self, place: str) -> None:
        """Into the folder of a checkpoint."""
        np.savez(Path(place) / "best.npz", *self.weights, loss=self.loss, epoch=self.epoch)

    def load(self, place: str) -> None:
        """From the folder of a checkpoint."""
        with np.load(Path(place) / "best.npz", allow_pickle=False) as saved:
            self.loss, self.epoch = float(saved["loss"]), int(saved["epoch"])
            self.weights = [saved[f"arr_{i}"] for i in range(len(saved.files) - 2)]


def set_up(config: Config, trainings: int) -> None:
    """Before networks are built: this worker's share of the cores, and 16 bits where they do."""
    pin_tensorflow(worker.share_of_cores(trainings))
    from landmark_ray.models.classification import set_mixed_precision

    precision = config.train.precision
    set_mixed_precision(precision == "mixed" or (precision == "auto" and bool(gpus())))


def gpus() -> list[str]:
    """Those that this worker may use, by TensorFlow's names."""
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("GPU")]


def over(devices: list[str]) -> AbstractContextManager[Any]:
    """A context in which networks are built that learn on several devices at once."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices).scope() if len(devices) > 1 else nullcontext()


def learn(
    work: dict[str, Any], photos: Pool, judge: Judge, build: "Callable[[], keras.Model]", c: Course
) -> "tuple[keras.Model, worker.History]":
    """Train a classifier; go on from the last checkpoint where there is one.

    Args:
        work: `config`, `tables`, `name`, `told` (a `trainer.Done`), `readers` (number, cores each).
        photos: to learn from.
        judge: of the validation photos.
        build: makes the classifier.
        c: how it learns.

    Returns:
        The classifier and its history.
    """
    from landmark_ray.models import fit_loop

    config, tables = work["config"], work["tables"]
    checkpoints, best = worker.Checkpoints(), Best()

    def read(place: str) -> "keras.Model":
        best.load(place)
        return fit_loop.load(place)

    def write(place: str) -> None:
        best.save(place)
        fit_loop.save(model, place)

    def report(epoch: int, logs: dict[str, float], model: "keras.Model") -> bool:
        figures = {"epoch": epoch, **logs, **judge.figures(model)}
        if c.patience and "val_loss" in figures:
            best.see(figures["val_loss"], epoch, model)
        checkpoints.leave(figures, write)
        return enough()

    def enough() -> bool:
        stale = checkpoints.done - best.epoch if best.weights else 0
        return checkpoints.done >= c.epochs or bool(c.patience and stale >= c.patience)

    with over(gpus()):
        model = checkpoints.load(read) or build()
        if not enough():
            epochs = range(checkpoints.done, c.epochs)
            batches = stream(tables, photos, epochs, *work["readers"])
            steps = photos.steps
            fit_loop.fit(
                model,
                fit_loop.Stream(
                    _told(batches, steps * checkpoints.done, steps * c.epochs, work), steps
                ),
                rate=c.rate,
                epochs=c.epochs,
                done=checkpoints.done,
                warmup=config.train.warmup,
                options=config.train,
                report=report,
            )
    if best.weights:
        model.set_weights(best.weights)
    return model, checkpoints.history


def _told(
    batches: Iterator[tuple[NDArray[Any], ...]], done: int, steps: int, work: dict[str, Any]
) -> Iterator[tuple[NDArray[Any], ...]]:
    """The batches as Keras takes them; on the way the driver is told how far the training is."""
    before = 0.0
    for step, (photos, y, weights) in enumerate(batches, done):
        yield photos.astype(np.float32), y, weights
        if time.monotonic() - before > TELL_EVERY_S:
            before = time.monotonic()
            ray.get(work["told"].tell.remote(work["name"], (step + 1) / steps))

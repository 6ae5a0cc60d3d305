"""Train a whole network on photos, in a worker of Ray Train.

Ray Data reads the training photos (`photo_stream.py`). After each epoch, the network is validated
and a checkpoint is stored.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landmark_ray.runtime.resources import pin_tensorflow
from landmark_ray.training.checkpoints import Checkpoints, History
from landmark_ray.training.photo_stream import Batch, Pool, stream
from landmark_ray.training.trackers import Tracker
from landmark_ray.training.validation import Validator, diverged
from landmark_ray.training.worker import ALL_GROUPS, TrainingJob

if TYPE_CHECKING:
    import keras

    from landmark_ray.models.arcface import ArcFace
    from landmark_ray.models.arcface import Batch as Labelled
    from landmark_ray.models.sampled_centers import SampledCenters

REPORT_EVERY_S = 1.0
"""Seconds between two reports of the progress to the driver."""


@dataclass(frozen=True)
class TrainSchedule:
    """The length and the learning rate of a training.

    Attributes:
        epochs: The largest number of epochs.
        rate: The highest learning rate.
        patience: The number of epochs without a lower validation loss after which the training
            ends with its best weights. If None, it runs all epochs and keeps the last weights.
        average: Momentum of an exponential average of the weights, which then takes the place of
            the last weights; none when not given.
    """

    epochs: int
    rate: float
    patience: int | None
    average: float | None = None


@dataclass(frozen=True)
class Metric:
    """How the phase metric trains.

    Attributes:
        margins: [C] margin of each landmark, in radians.
        loss: The loss.
        centers: Those of all landmarks, if a step trains some of them only.
        sizes: Widths and heights at which the network trains, one after the other, and after how
            many epochs each is done; if there are none, the network keeps its own.
    """

    margins: NDArray[np.float32]
    loss: "ArcFace"
    centers: "SampledCenters | None"
    sizes: Sequence[tuple[int, int]] = ()

    def labelled(
        self, model: "keras.Model", batches: "Iterator[Labelled]", step: int
    ) -> "Iterator[Labelled]":
        """Give batches with class numbers, from a step on, the labels of the loss of a model."""
        from landmark_ray.models.arcface import with_margins

        labelled = with_margins(batches, self.margins)
        classes = int(model.output_shape[-1])  # a checkpoint may hold more than a step would now
        return self.centers.batches(labelled, classes, step) if self.centers else labelled


@dataclass
class BestWeights:
    """The weights of the epoch with the lowest validation loss."""

    loss: float = float("inf")
    epoch: int = 0
    weights: list[NDArray[Any]] = field(default_factory=list)

    def update(self, loss: float, epoch: int, model: "keras.Model") -> None:
        """Keep the weights of an epoch if its validation loss is lower than all before."""
        if loss < self.loss:
            self.loss, self.epoch, self.weights = loss, epoch, model.get_weights()

    def save(self, folder: str) -> None:
        """Write `best.npz` into the folder of a checkpoint."""
        np.savez(Path(folder) / "best.npz", *self.weights, loss=self.loss, epoch=self.epoch)

    def load(self, folder: str) -> None:
        """Read `best.npz` from the folder of a checkpoint."""
        with np.load(Path(folder) / "best.npz", allow_pickle=False) as saved:
            self.loss, self.epoch = float(saved["loss"]), int(saved["epoch"])
            self.weights = [saved[f"arr_{i}"] for i in range(len(saved.files) - 2)]


def set_up(job: TrainingJob) -> None:
    """Limit the threads and choose the precision; must be called before networks are built."""
    pin_tensorflow(job.cores)
    from landmark_ray.models.classification import use_precision

    use_precision(job.config.train.precision)


def learn(
    job: TrainingJob,
    photos: Pool,
    validator: Validator,
    build: "Callable[[], keras.Model]",
    schedule: TrainSchedule,
    metric: Metric | None = None,
) -> "tuple[keras.Model, History]":
    """Train a classifier, from the last checkpoint if there is one.

    Args:
        job: The training.
        photos: The training photos.
        validator: Measures the classifier after each epoch.
        build: Builds the untrained classifier.
        schedule: Its length and learning rate.
        metric: How ArcFace trains it; when not given, the smoothed cross-entropy does.

    Returns:
        The classifier and its history.

    Raises:
        UserError: The checkpoint is damaged, or the training diverges.
    """
    import keras

    from landmark_ray.models import fit_loop
    from landmark_ray.models.backend import dividing, on_gpu, side_by_side
    from landmark_ray.models.growth import grown

    stage = "trunk" if job.group == ALL_GROUPS else "finetune"
    tracker = Tracker(job.config, job.root, stage, job.name)
    checkpoints, best = Checkpoints(job.root, job.name, tracker.write), BestWeights()

    centers = metric.centers if metric else None

    def read(folder: str) -> "keras.Model":
        best.load(folder)
        if centers:
            centers.load(folder)
        return fit_loop.load(folder)

    def write(folder: str) -> None:
        best.save(folder)
        if centers:
            centers.save(folder)
        fit_loop.save(model, folder)

    def report(epoch: int, logs: dict[str, float], model: "keras.Model") -> bool:
        if not np.isfinite(logs["loss"]):  # perhaps no photo validates
            raise diverged(validator.rate)
        figures = {"epoch": epoch, **logs, **validator.figures(model)}
        if schedule.patience and "top1" in figures:  # as in `fit_head`
            best.update(figures["val_loss"], epoch, model)
        checkpoints.save(figures, write)
        return is_finished()

    def is_finished() -> bool:
        stale = checkpoints.epochs - best.epoch if best.weights else 0
        return checkpoints.epochs >= schedule.epochs or bool(
            schedule.patience and stale >= schedule.patience
        )

    # JAX raises where it is asked for GPUs and has none
    gpus = keras.distribution.list_devices("gpu") if on_gpu() else []
    with side_by_side(dividing(gpus, photos.batch)):
        while True:
            model = checkpoints.load(read) or build()
            if is_finished():  # the worker was lost after the last epoch
                if schedule.average:
                    model.optimizer.finalize_variable_values(model.trainable_variables)
                break
            done, steps, until = checkpoints.epochs, photos.steps, schedule.epochs
            if metric and metric.sizes:
                size, until = next((size, end) for size, end in metric.sizes if end > done)
                model = grown(model, size)
            epochs = range(done, until)
            batches = stream(job.root, photos, epochs, job.readers, job.reader_cpus)
            tracked = _tracked(batches, steps * done, steps * schedule.epochs, job)
            if metric:
                tracked = metric.labelled(model, tracked, steps * done)
            fit_loop.fit(
                model,
                fit_loop.Stream(tracked, steps),
                rate=schedule.rate,
                epochs=schedule.epochs,
                done=done,
                until=until,
                warmup=job.config.train.warmup,
                options=job.config.train,
                on_progress=report,
                loss=metric.loss if metric else None,
                average=schedule.average,
                centers=centers,
            )
            if is_finished():
                break
            del model  # it has averages; the checkpoint, from which the next size begins, has both
    if best.weights:
        model.set_weights(best.weights)
    tracker.write(checkpoints.history, finished=True)
    return model, checkpoints.history


def _tracked(
    batches: Iterator[Batch], done: int, steps: int, job: TrainingJob
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield batches in the form that Keras expects, and report the share of steps that are done."""
    before = 0.0
    for step, (photos, y, weights) in enumerate(batches, done):
        yield photos, y, weights
        if time.monotonic() - before > REPORT_EVERY_S:
            before = time.monotonic()
            job.report((step + 1) / steps)

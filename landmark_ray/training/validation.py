"""Validate a network on photos that it has not learned from."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.kernels.calibration import (
    VALIDATION_SMOOTHING,
    fit_temperature,
    negative_log_likelihood,
)
from landmark_ray.kernels.metrics import top1_of_sides
from landmark_ray.training.photo_stream import Pool, decoded
from landmark_ray.training.vectors import weigh

if TYPE_CHECKING:
    import keras

    from landmark_ray.models.embedding import Embedder

MAX_PHOTOS = 20_000
"""Largest number of photos that are used after an epoch."""

MAX_LOGITS = 200_000_000
"""Largest number of logits that are held to fit a temperature: 800 MB."""

RATES = {"trunk_rate": "trunk", "metric_rate": "trunk", "head_rate": "train", "rate": "finetune"}
"""Option of `train` with a learning rate -> the stage whose trainings have it."""

Outputs = Callable[["keras.Model", NDArray[Any]], NDArray[np.float32]]
"""Returns logits [N, C] of a network for photos [N, H, W, 3]."""


def diverged(rate: str) -> UserError:
    """Return the error for trainings that an option of RATES made diverge."""
    return UserError(
        f"{RATES[rate]}: a training diverged, its outputs are not finite numbers: lower --train."
        f"{rate}, and run again with --redo {RATES[rate]}"
    )


def chosen_to_calibrate(count: int, classes: int, seed: int) -> NDArray[np.int64]:
    """Return which of some photos fit a temperature: all, or as many as MAX_LOGITS allows.

    Args:
        count: Number of photos.
        classes: Number of logits of each.
        seed: Seed of the choice.
    """
    fit = min(count, max(MAX_LOGITS // classes, 1))
    return np.sort(np.random.default_rng(seed).permutation(count)[:fit])


class Validator:
    """At most MAX_PHOTOS validation photos of a training, which are read again in each epoch."""

    def __init__(self, root: Root, pool: Pool, rate: str, outputs: Outputs | None = None) -> None:
        """Choose photos of a pool at random.

        Args:
            root: The root.
            pool: The validation photos.
            rate: The option of RATES with which the network is trained.
            outputs: Returns the logits of a network for photos, if these are not its outputs.
        """
        rng = np.random.default_rng(pool.config.seed)
        rows = rng.permutation(pool.sample(0))[:MAX_PHOTOS]
        self.root, self.pool, self.rate, self.outputs = root, pool, rate, outputs
        self.rows = rows[np.lexsort((pool.row[rows], pool.file[rows]))]
        self.y = pool.y[self.rows]
        self._network: Embedder | None = None

    def _logits(
        self, model: "keras.Model", rows: NDArray[np.integer[Any]]
    ) -> Iterator[NDArray[np.float32]]:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for _, photos in decoded(self.root, self.pool, rows, threads.map):
                logits = (self.outputs or self._outputs)(model, photos)
                if not np.isfinite(logits).all():
                    raise diverged(self.rate)
                yield logits

    def _outputs(self, model: "keras.Model", photos: NDArray[Any]) -> NDArray[np.float32]:
        from landmark_ray.models.embedding import Embedder

        if self._network is None or self._network.network is not model:
            self._network = Embedder(model)
        return self._network.embed(photos)

    def figures(self, model: "keras.Model") -> dict[str, float]:
        """Return the weighted `val_loss`, and top-1 on photos of landmarks and of the class other.

        The result is empty if there are no photos.

        Raises:
            UserError: Outputs are not finite numbers.
        """
        if not len(self.rows):
            return {}
        weights = weigh(self.y, self.pool.classes, self.pool.config).astype(np.float64)
        loss, done, right = 0.0, 0, []
        for logits in self._logits(model, self.rows):
            batch = slice(done, done + len(logits))
            done += len(logits)
            weight = weights[batch]
            if weight.sum():
                loss += negative_log_likelihood(logits, self.y[batch], weight) * weight.sum()
            right.append(logits.argmax(axis=1) == self.y[batch])
        top1 = top1_of_sides(np.concatenate(right), self.y < self.pool.classes)
        return {"val_loss": loss / weights.sum(), **top1}

    def temperature(self, model: "keras.Model") -> float:
        """Return the temperature that calibrates the network's confidences.

        It is 1 without photos of landmarks.
        """
        classes, seed = int(model.output_shape[-1]), self.pool.config.seed
        chosen = chosen_to_calibrate(len(self.rows), classes, seed)
        if not (self.y[chosen] < self.pool.classes).any():
            return 1.0
        logits = np.concatenate(list(self._logits(model, self.rows[chosen])))
        return fit_temperature(logits, self.y[chosen], smoothing=VALIDATION_SMOOTHING)

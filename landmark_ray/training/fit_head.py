"""Train the head of a group on cached vectors, for the stage train and for jobs/tune.py."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from landmark_ray.config import Config
from landmark_ray.kernels.head_batches import batch_size, rate_of
from landmark_ray.training.checkpoints import Checkpoints
from landmark_ray.training.fit_network import BestWeights
from landmark_ray.training.vectors import GroupVectors, Vectors

if TYPE_CHECKING:
    import keras

    from landmark_ray.models.head_loop import HeadLoop
    from landmark_ray.models.samples import Samples

Report = Callable[[int, "keras.Model"], None]
"""Called with the number of finished epochs and the head."""

LARGE = 1 << 20
"""Weights from which a GPU multiplies in 16 bits: the products of smaller heads take no time."""

CHUNK = 1024
"""Vectors whose logits are computed at a time."""


def new_head(data: GroupVectors, group: int, config: Config) -> "keras.Model":
    """Build a head for the landmarks of a group; its weights are the means of their vectors."""
    import keras

    from landmark_ray.models.backend import in_16_bits
    from landmark_ray.models.heads import build_head, start_at_means

    options = config.train
    keras.utils.set_random_seed((config.seed + group) % 2**31)
    features, classes = data.train.x.shape[1], len(data.landmarks) + data.other
    head = build_head(
        features,
        classes,
        dropout=options.dropout,
        kind=options.head,
        scale=options.scale,
        products="bfloat16"
        if features * classes >= LARGE and in_16_bits(options.precision)
        else "float32",
    )
    start_at_means(head, data.train.x, data.train.y, options.scale)
    return head


def loop_of(head: "keras.Model", data: GroupVectors, config: Config) -> "HeadLoop":
    """Send the training vectors of a group to the device, and prepare the training of its head."""
    from landmark_ray.models.head_loop import HeadLoop, HeadOptions

    options = config.train
    batch = options.head_batch or batch_size(len(data.train.x))
    rate = options.head_rate
    return HeadLoop(
        head,
        _samples(data.train),
        HeadOptions(
            batch=batch,
            rate=rate if options.head_batch else rate_of(rate, batch),
            epochs=options.head_epochs,
            warmup=options.warmup,
            optimizer=options.optimizer,
            weight_decay=options.weight_decay,
            smoothing=options.smoothing,
            seed=config.seed,
        ),
    )


def fit_head(
    head: "keras.Model",
    data: GroupVectors,
    config: Config,
    report: Report = lambda *_: None,
    *,
    reports: int = 1,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Train a head until its validation loss has not fallen for `train.head_patience` epochs.

    It then has the weights of the lowest validation loss; without validation vectors of landmarks,
    it is trained to the last epoch and has the last weights.

    Args:
        head: From `new_head`.
        data: The vectors to learn from, and those that validate.
        config: All options.
        report: Is called during the training, and at its end if that is the last epoch.
        reports: The approximate number of calls of `report`, if no epoch is left out.
        checkpoints: Where the training is stored before each call of `report`, and from where it
            goes on; nowhere when not given.
    """
    options, validation, best = config.train, _samples(data.validation), BestWeights()
    loop = loop_of(head, data, config)
    every, done = max(options.head_epochs // reports, 1), 0

    def read(folder: str) -> None:
        loop.load(folder)
        best.load(folder)

    def write(folder: str) -> None:
        loop.save(folder)
        best.save(folder)

    if checkpoints:
        checkpoints.load(read)
        done = checkpoints.epochs
    while done < options.head_epochs:
        if best.weights and done - best.epoch >= options.head_patience:
            break
        figures = loop.epoch(done) | loop.validate(validation, len(data.landmarks))
        done += 1
        if "top1" in figures:  # photos of no landmark alone would choose a head that rejects all
            best.update(figures["val_loss"], done, loop)
        is_reported = done % every == 0 or done == options.head_epochs
        if checkpoints and is_reported:
            checkpoints.save({"epoch": done, **figures}, write)
        elif checkpoints:
            checkpoints.history.append({"epoch": done, **figures})
        if is_reported:
            report(done, loop.finish())
    loop.finish(best.weights or None)


def _samples(side: Vectors) -> "Samples":
    from landmark_ray.models.samples import Samples

    return Samples.send(side.x, side.y, side.weights)


def logits_of(head: "keras.Model", x: NDArray[np.float16]) -> Iterator[NDArray[np.float32]]:
    """Yield the logits [n, C] of vectors [N, D], in order, at most CHUNK at a time."""
    from keras import ops

    for start in range(0, len(x), CHUNK):
        chunk = x[start : start + CHUNK].astype(np.float32)
        yield ops.convert_to_numpy(head(chunk, training=False))

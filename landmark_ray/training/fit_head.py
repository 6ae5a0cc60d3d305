"""Train the head of a group on cached vectors, for the stage train and for jobs/tune.py."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from landmark_ray.config import Config
from landmark_ray.training.vectors import GroupVectors

if TYPE_CHECKING:
    import keras

    from landmark_ray.models.fit_loop import ProgressCallback


def new_head(data: GroupVectors, group: int, config: Config) -> "keras.Model":
    """Build an untrained head for the landmarks of a group, with seeded weights."""
    import keras

    from landmark_ray.models.heads import build_head

    options = config.train
    keras.utils.set_random_seed((config.seed + group) % 2**31)
    return build_head(
        data.train.x.shape[1],
        len(data.landmarks) + data.other,
        dropout=options.dropout,
        kind=options.head,
        scale=options.scale,
    )


def fit_head(
    head: "keras.Model",
    data: GroupVectors,
    config: Config,
    report: "ProgressCallback",
    *,
    reports: int,
    done: int = 0,
) -> None:
    """Train a head to its last epoch.

    Args:
        head: A new head, or one from a checkpoint.
        data: The vectors to learn from.
        config: All options.
        report: Is called during the training and after the last epoch.
        reports: The approximate number of calls of `report`.
        done: The number of finished epochs of a head from a checkpoint.
    """
    from landmark_ray.models import fit_loop

    options = config.train
    if done >= options.head_epochs:
        return
    batches = fit_loop.shuffled_batches(
        data.train.x,
        data.train.y,
        data.train.weights,
        batch=options.head_batch,
        seed=config.seed,
        epochs=range(done, options.head_epochs),
    )
    fit_loop.fit(
        head,
        fit_loop.Stream(batches, -(-len(data.train.x) // options.head_batch)),
        rate=options.head_rate,
        epochs=options.head_epochs,
        done=done,
        warmup=options.warmup,
        options=options,
        on_progress=report,
        every=max(options.head_epochs // reports, 1),
    )


def logits_of(head: "keras.Model", data: GroupVectors) -> NDArray[np.float32]:
    """Return the logits [N, C] of the validation vectors."""
    return np.asarray(head.predict(data.validation.x.astype(np.float32), 1024, verbose=0))

"""trunk: store the network that all groups share.

It is the network that `describe` used, or is trained on all landmarks together: from scratch, or by
the phase metric.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from landmark_ray.bundle.network_files import (
    PRETRAINED,
    TRUNK,
    copy_trunk,
    read_trunk,
    trunk_info,
    write_trunk,
)
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.stage import Stage
from landmark_ray.training.checkpoints import STAGING, History
from landmark_ray.training.example_index import read_index
from landmark_ray.training.fit_network import Metric, TrainSchedule, learn, set_up
from landmark_ray.training.new_network import build_network, preset_inputs
from landmark_ray.training.photo_stream import Pool, decoded, pool_of
from landmark_ray.training.validation import Validator
from landmark_ray.training.worker import ALL_GROUPS, Loop, TrainingJob, run_trainings

if TYPE_CHECKING:
    import keras

HISTORY = f"{TRUNK}/history.json"


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `models/trunk`."""
    folder = root.models
    images = root.dataset("examples").count_rows()
    if trunk_info(folder) is None:
        if config.train.is_metric:
            train(fit_embedding, images * config.train.metric_epochs, config, root)
        elif config.train.from_scratch:
            train(fit_trunk, images * config.train.trunk_epochs, config, root)
        else:
            copy_trunk(folder, PRETRAINED, folder, TRUNK)
    counts = StageCounts(images, images)
    info = trunk_info(folder)
    counts.counters["features"] = info.features if info else 0
    return counts


def inputs(config: Config, source: Source) -> dict[str, str]:
    """Return the checksum of the preset of a network `hub:FOLDER` that is trained from scratch.

    Raises:
        UserError: The folder is no preset.
    """
    return preset_inputs(config) if config.train.from_scratch else {}


def train(loop: Loop, seen: int, config: Config, root: Root) -> None:
    """Train a trunk with one head for all landmarks, on `seen` images, and store it."""
    with ProgressBar("trunk", seen) as progress_bar:
        run_trainings({ALL_GROUPS: seen}, loop, config, root, progress_bar)
    root.delete(STAGING)


def fit_trunk(job: TrainingJob) -> None:
    """Train a trunk with a head for all landmarks, and store the trunk; runs in a worker."""
    config, root = job.config, job.root
    options = config.train
    set_up(job)
    import keras

    from landmark_ray.models import classification
    from landmark_ray.models.augmentation import build_augmentation
    from landmark_ray.models.heads import build_head

    photos, validation = pools(job)

    def classifier() -> "keras.Model":
        keras.utils.set_random_seed(config.seed % 2**31)
        trunk = build_network(config)
        head = build_head(
            trunk.output_shape[-1],
            photos.classes,
            dropout=options.dropout,
            kind=options.head,
            scale=options.scale,
        )
        vary = build_augmentation(options.augment, config.seed)
        return classification.build_classifier(trunk, head, vary, learn_statistics=True)

    schedule = TrainSchedule(options.trunk_epochs, options.trunk_rate, patience=None)
    validator = Validator(root, validation, "trunk_rate")
    model, history = learn(job, photos, validator, classifier, schedule)
    store(root, classification.split_classifier(model)[0], history)


def fit_embedding(job: TrainingJob) -> None:
    """Train a trunk with an embedding by sub-center ArcFace, and store it; runs in a worker.

    Raises:
        UserError: The centers of a step do not fit, a margin is out of range, or the network can't
            have each of the sizes, or take rectangles.
    """
    config, root = job.config, job.root
    options = config.train
    set_up(job)
    import keras

    from landmark_ray.models import arcface, classification, metric
    from landmark_ray.models.augmentation import build_augmentation
    from landmark_ray.models.growth import at_size
    from landmark_ray.models.rectangles import for_rectangles, for_squares
    from landmark_ray.models.sampled_centers import SampledCenters

    photos, validation = pools(job, proportions=options.metric_proportions)
    photos = dataclasses.replace(photos, evenly=True)
    size = arcface.classes_of_a_step(
        photos.classes, options.embedding, photos.batch, options.metric_memory_gb
    )
    counts = np.bincount(photos.y, minlength=photos.classes)
    margins = arcface.margins_of(
        counts, options.margin_few, options.margin_many, options.margin_power
    )

    sampled = SampledCenters(config.seed) if size < photos.classes else None

    def network() -> "keras.Model":
        keras.utils.set_random_seed(config.seed % 2**31)
        scratch = options.from_scratch
        trunk = build_network(config) if scratch else read_trunk(root.models, PRETRAINED)
        if options.metric_proportions:
            trunk = for_rectangles(trunk)
        for side in reversed(options.metric_sizes):  # the first last; all, as each may be refused
            trunk = at_size(trunk, side)
        rows = photos.sample(0)[: metric.SAMPLE]
        chunks = list(decoded(root, photos, rows))
        model, first = metric.build(
            trunk,
            np.concatenate([pixels for _, pixels in chunks]),
            photos.y[np.concatenate([chunk for chunk, _ in chunks])],
            classes=photos.classes,
            features=options.embedding,
            scale=options.metric_scale,
            augmentation=build_augmentation(options.augment, config.seed),
            learn_statistics=scratch,
            sample=size,
        )
        if sampled:
            sampled.centers = first
        return model

    schedule = TrainSchedule(
        options.metric_epochs, options.metric_rate, patience=None, average=options.average
    )
    outputs = sampled.logits if sampled else None
    validator = Validator(root, validation, "metric_rate", outputs)
    sizes = list(zip(options.metric_sizes, options.metric_ends, strict=False))
    how = Metric(margins, arcface.ArcFace(options.metric_scale), sampled, sizes)
    model, history = learn(job, photos, validator, network, schedule, how)
    trunk, _ = classification.split_classifier(model)
    store(root, for_squares(trunk) if options.metric_proportions else trunk, history)


def pools(job: TrainingJob, *, proportions: bool = False) -> tuple[Pool, Pool]:
    """Return the photos of all landmarks to train on, and to validate with.

    Raises:
        UserError: Their proportions are asked for, and the table with these is missing.
    """
    index = read_index(job.root, job.config.seed, proportions=proportions)
    landmarks = np.unique(index.landmark_id[index.group > 0])
    train, validation = (
        pool_of(index, landmarks, side, job.config, other=False) for side in ("train", "validation")
    )
    return train, validation


def store(root: Root, trunk: "keras.Model", history: History) -> None:
    """Write the history and the trunk."""
    root.models.write_json(HISTORY, history)
    write_trunk(root.models, TRUNK, trunk)


STAGE = Stage(
    "trunk",
    reads=("examples", "models/pretrained"),  # for proportions `images`, too, which make `examples`
    writes=("models/trunk",),
    run=run,
    scratch=(STAGING,),
    inputs=inputs,
)

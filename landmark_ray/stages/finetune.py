"""finetune: train the whole network of each group, if `--train.phases` includes finetune.

The training starts from the common trunk and the group's head of the stage train. It keeps the
weights of the best epoch, and fits a temperature to them.
"""

import time
from typing import TYPE_CHECKING

import numpy as np

from landmark_ray.bundle.network_files import (
    FINETUNED,
    GROUPS,
    HeadInfo,
    head_info,
    read_head,
    read_trunk,
    write_head,
    write_trunk,
)
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.stage import Stage
from landmark_ray.training.checkpoints import STAGING
from landmark_ray.training.dispatch import over_groups
from landmark_ray.training.example_index import read_index
from landmark_ray.training.fit_network import TrainSchedule, learn, set_up
from landmark_ray.training.photo_stream import pool_of
from landmark_ray.training.validation import Validator
from landmark_ray.training.worker import TrainingJob

if TYPE_CHECKING:
    import keras


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `models/finetuned`."""
    if "finetune" in config.train.phases:
        return over_groups("finetune", FINETUNED, fit_group, config, root, config.train.epochs)
    images = root.dataset("examples").count_rows()
    counts = StageCounts(images, images)
    counts.counters["not requested"] = 1
    return counts


def fit_group(job: TrainingJob) -> None:
    """Train the network of a group, fit its temperature, and store it; runs in a worker."""
    group, config, root = job.group, job.config, job.root
    options = config.train
    set_up(job)
    import keras

    from landmark_ray.models import classification
    from landmark_ray.models.augmentation import build_augmentation

    begun = time.monotonic()
    folder = root.models
    info = head_info(folder, GROUPS, group)
    assert info is not None, "stage train is finished"
    index = read_index(root, config.seed)
    landmarks = np.array(info.landmarks, np.int64)
    train, validation = (
        pool_of(index, landmarks, side, config, other=info.other)
        for side in ("train", "validation")
    )
    validator = Validator(root, validation, "rate")

    def classifier() -> "keras.Model":
        keras.utils.set_random_seed((config.seed + group) % 2**31)
        head = read_head(folder, GROUPS, info, dropout=options.dropout)
        vary = build_augmentation(options.augment, config.seed + group)
        return classification.build_classifier(
            read_trunk(folder), head, vary, learn_statistics=False
        )

    schedule = TrainSchedule(options.epochs, options.rate, options.patience)
    model, history = learn(job, train, validator, classifier, schedule)
    trunk, head = classification.split_classifier(model)
    name = f"{FINETUNED}/group={group}"
    report = {"history": history, "seconds": time.monotonic() - begun}
    for side, pool in (("train", train), ("validation", validation)):
        report |= {f"{side}_own": pool.size - pool.others, f"{side}_other": pool.others}
    write_trunk(folder, name, trunk)
    write_head(
        folder,
        FINETUNED,
        head,
        HeadInfo(
            group=group,
            landmarks=info.landmarks,
            other=info.other,
            trunk=name,
            features=info.features,
            kind=info.kind,
            scale=info.scale,
            temperature=validator.temperature(model) if options.calibrate else 1.0,
            report=report,
        ),
    )


STAGE = Stage(
    "finetune",
    reads=("models/groups", "models/trunk", "examples"),
    writes=("models/finetuned",),
    run=run,
    scratch=(STAGING,),
)

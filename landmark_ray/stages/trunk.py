"""trunk: the network's weights in one place, for all groups.

They are downloaded, come from a file, or are learned from scratch on all landmarks together.
"""

from typing import Any

import numpy as np
import ray
from ray.exceptions import RayTaskError

from landmark_ray.bundle import TRUNK, trunk_info, write_trunk
from landmark_ray.config import Config
from landmark_ray.funnel import Funnel
from landmark_ray.progress import Meter
from landmark_ray.sources import Source
from landmark_ray.stages import trainer
from landmark_ray.stages.feeding import pool_of, read_index
from landmark_ray.stages.judging import Judge
from landmark_ray.stages.photo_training import Course, learn, set_up
from landmark_ray.stages.shards import start_ray, unwrapped
from landmark_ray.storage import Folder, Tables

READS = ("group",)
WRITES = ("models/trunk",)
SCRATCH = (trainer.STAGING,)

HISTORY = f"{TRUNK}/history.json"


def inputs(config: Config, source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {}


def run(config: Config, tables: Tables, source: Source) -> Funnel:
    """Write `models/trunk`."""
    folder = Folder(f"{tables.uri}/models")
    images = tables.dataset("examples").count_rows()
    if trunk_info(folder) is None:
        if config.train.from_scratch:
            from_scratch(config, tables, images)
        else:
            given(config, tables)
    funnel = Funnel(images, images)
    info = trunk_info(folder)
    funnel.facts["features"] = info.features if info else 0
    return funnel


def given(config: Config, tables: Tables) -> None:
    """Store a trunk whose weights there are."""
    start_ray(config)
    try:
        ray.get(ray.remote(store).options(max_retries=0).remote(config, tables))
    except RayTaskError as error:
        raise unwrapped(error) from None


def store(config: Config, tables: Tables) -> None:
    """In a worker: build the trunk and store it."""
    write_trunk(Folder(f"{tables.uri}/models"), TRUNK, build(config, config.train.weights))


def build(config: Config, weights: str | None) -> Any:
    """The trunk that the options name."""
    from landmark_ray.models.networks import build_trunk

    options = config.train
    return build_trunk(
        options.network,
        weights=weights,
        input_size=config.resize.size,
        pooling=options.pooling,
    )


def from_scratch(config: Config, tables: Tables, images: int) -> None:
    """Train a trunk with one head for all landmarks, and store it."""
    seen = images * config.train.trunk_epochs
    with Meter("trunk", seen) as meter, trainer.watched(meter, {TRUNK: seen}, config) as told:
        trainer.train(TRUNK, fit_trunk, trainer.work_of(config, tables, told, 1))
    tables.delete(trainer.STAGING)


def fit_trunk(work: dict[str, Any]) -> None:
    """In the worker: train, and store the trunk without the head."""
    config, tables = work["config"], work["tables"]
    options = config.train
    set_up(config, work["trainings"])
    import keras

    from landmark_ray.models import training
    from landmark_ray.models.augmentation import build_augmentation
    from landmark_ray.models.heads import build_head

    index = read_index(tables, config.seed)
    landmarks = np.unique(index.landmark_id[index.group > 0])
    train, validation = (
        pool_of(index, landmarks, side, config, other=False) for side in ("train", "validation")
    )

    def classifier() -> keras.Model:
        keras.utils.set_random_seed(config.seed % 2**31)
        trunk = build(config, None)
        head = build_head(
            trunk.output_shape[-1],
            len(landmarks),
            dropout=options.dropout,
            kind=options.head,
            scale=options.scale,
        )
        vary = build_augmentation(options.augment, config.seed)
        return training.classifier(trunk, head, vary, learn_statistics=True)

    course = Course(options.trunk_epochs, options.trunk_rate, patience=None)
    model, history = learn(work, train, Judge(tables, validation), classifier, course)
    folder = Folder(f"{tables.uri}/models")
    folder.write_json(HISTORY, history)
    write_trunk(folder, TRUNK, training.parts(model)[0])

"""trunk: store the network that all groups share.

It is the network that `describe` used, or is trained from scratch on all landmarks together.
"""

from typing import TYPE_CHECKING

import numpy as np

from landmark_ray.bundle.network_files import PRETRAINED, TRUNK, copy_trunk, trunk_info, write_trunk
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.stage import Stage
from landmark_ray.training.checkpoints import STAGING
from landmark_ray.training.fit_network import TrainSchedule, learn, set_up
from landmark_ray.training.photo_stream import pool_of, read_index
from landmark_ray.training.preset import preset_inputs
from landmark_ray.training.validation import Validator
from landmark_ray.training.worker import ALL_GROUPS, TrainingJob, run_trainings

if TYPE_CHECKING:
    import keras

HISTORY = f"{TRUNK}/history.json"


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `models/trunk`."""
    folder = Store(f"{root.uri}/models")
    images = root.dataset("examples").count_rows()
    if trunk_info(folder) is None:
        if config.train.from_scratch:
            from_scratch(config, root, images)
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


def from_scratch(config: Config, root: Root, images: int) -> None:
    """Train a trunk with one head for all landmarks, and store it."""
    seen = images * config.train.trunk_epochs
    with ProgressBar("trunk", seen) as progress_bar:
        run_trainings({ALL_GROUPS: seen}, fit_trunk, config, root, progress_bar)
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
    from landmark_ray.models.networks import build_trunk

    index = read_index(root, config.seed)
    landmarks = np.unique(index.landmark_id[index.group > 0])
    train, validation = (
        pool_of(index, landmarks, side, config, other=False) for side in ("train", "validation")
    )

    def classifier() -> "keras.Model":
        keras.utils.set_random_seed(config.seed % 2**31)
        trunk = build_trunk(
            options.network,
            weights=None,
            input_size=config.resize.size,
            pooling=options.pooling,
        )
        head = build_head(
            trunk.output_shape[-1],
            len(landmarks),
            dropout=options.dropout,
            kind=options.head,
            scale=options.scale,
        )
        vary = build_augmentation(options.augment, config.seed)
        return classification.build_classifier(trunk, head, vary, learn_statistics=True)

    schedule = TrainSchedule(options.trunk_epochs, options.trunk_rate, patience=None)
    model, history = learn(job, train, Validator(root, validation), classifier, schedule)
    folder = Store(f"{root.uri}/models")
    folder.write_json(HISTORY, history)
    write_trunk(folder, TRUNK, classification.split_classifier(model)[0])


STAGE = Stage(
    "trunk",
    reads=("examples", "models/pretrained"),
    writes=("models/trunk",),
    run=run,
    scratch=(STAGING,),
    inputs=inputs,
)

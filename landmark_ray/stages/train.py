"""train: train a head for each group with Ray Train, as many groups at a time as there is room for.

A group whose head is stored is finished. A lost worker is replaced, and continues from the last
checkpoint of its group. For comparison, each group also gets a closed-set head, as the reference
trained it.
"""

import time
from typing import TYPE_CHECKING

import numpy as np

from landmark_ray.bundle.network_files import CLOSED, GROUPS, TRUNK, HeadInfo, write_head
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.kernels.calibration import VALIDATION_SMOOTHING, fit_temperature
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.resources import pin_tensorflow
from landmark_ray.runtime.stage import Stage
from landmark_ray.training.checkpoints import STAGING, Checkpoints
from landmark_ray.training.dispatch import over_groups
from landmark_ray.training.fit_head import fit_head, logits_of, new_head
from landmark_ray.training.trackers import Tracker
from landmark_ray.training.validation import chosen_to_calibrate, diverged
from landmark_ray.training.vectors import GroupVectors, closed_set_baseline, read_group
from landmark_ray.training.worker import TrainingJob

if TYPE_CHECKING:
    import keras

CHECKPOINTS = 6
"""Number of checkpoints of a head's training, which lasts seconds."""


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `models/groups` and `models/closed`."""
    return over_groups("train", GROUPS, fit_group, config, root)


def fit_group(job: TrainingJob) -> None:
    """Train the heads of a group, fit a temperature, and store them; runs in a worker.

    Raises:
        UserError: A head's training diverges.
    """
    pin_tensorflow(job.cores)
    group, config, root = job.group, job.config, job.root
    options = config.train
    folder = root.models
    begun = time.monotonic()
    data = read_group(root, group, config)
    tracker = Tracker(config, root, "train", job.name)
    checkpoints = Checkpoints(root, job.name, tracker.write)

    def store(subfolder: str, head: "keras.Model", data: GroupVectors, temperature: float) -> None:
        info = HeadInfo(
            group=group,
            landmarks=tuple(data.landmarks.tolist()),
            other=data.other,
            trunk=TRUNK,
            features=data.train.x.shape[1],
            kind=options.head,
            scale=options.scale,
            temperature=temperature,
            report={
                "history": checkpoints.history,
                "seconds": time.monotonic() - begun,
                **counts(data),
            },
        )
        write_head(folder, subfolder, head, info)

    head = new_head(data, group, config)
    fit_head(
        head,
        data,
        config,
        lambda epoch, _: job.report(epoch / options.head_epochs),
        reports=CHECKPOINTS,
        checkpoints=checkpoints,
    )
    require_finite(head)
    tracker.write(checkpoints.history, finished=True)
    closed_data = closed_set_baseline(data)
    baseline = new_head(closed_data, group, config)
    fit_head(baseline, closed_data, config)
    require_finite(baseline)
    store(CLOSED, baseline, closed_data, 1.0)
    store(GROUPS, head, data, temperature(head, data, config.seed) if options.calibrate else 1.0)


def require_finite(head: "keras.Model") -> None:
    """Refuse a head whose training diverged.

    Raises:
        UserError: Some of its weights are not finite numbers.
    """
    if not all(np.isfinite(weights).all() for weights in head.get_weights()):
        raise diverged("head_rate")


def temperature(head: "keras.Model", data: GroupVectors, seed: int) -> float:
    """Return the temperature that calibrates the head's confidences on the validation images.

    It is 1 where these show no landmark of the group.
    """
    side = data.validation
    chosen = chosen_to_calibrate(len(side.y), int(head.output_shape[-1]), seed)
    if not (side.y[chosen] < len(data.landmarks)).any():
        return 1.0
    logits = np.concatenate(list(logits_of(head, side.x[chosen])))
    return fit_temperature(logits, side.y[chosen], smoothing=VALIDATION_SMOOTHING)


def counts(data: GroupVectors) -> dict[str, int]:
    """Count the vectors of the group's landmarks and of the class "other", on both sides."""
    numbers: dict[str, int] = {}
    for name, side in (("train", data.train), ("validation", data.validation)):
        own = int((side.y < len(data.landmarks)).sum())
        numbers |= {f"{name}_own": own, f"{name}_other": len(side.y) - own}
    return numbers


STAGE = Stage(
    "train",
    reads=("embeddings", "models/trunk", "examples"),
    writes=("models/groups", "models/closed"),
    run=run,
    scratch=(STAGING,),
)

"""train: train a head for each group with Ray Train, as many groups at a time as there is room for.

A group whose head is stored is finished. A lost worker is replaced, and continues from the last
checkpoint of its group. For comparison, each group also gets a closed-set head, as the reference
trained it.
"""

import time
from typing import TYPE_CHECKING

from landmark_ray.bundle.network_files import CLOSED, GROUPS, TRUNK, HeadInfo, write_head
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.kernels.calibration import VALIDATION_SMOOTHING, fit_temperature
from landmark_ray.kernels.metrics import top1_of_sides
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.resources import pin_tensorflow
from landmark_ray.runtime.stage import Stage
from landmark_ray.training.checkpoints import STAGING, Checkpoints
from landmark_ray.training.dispatch import over_groups
from landmark_ray.training.fit_head import fit_head, logits_of, new_head
from landmark_ray.training.trackers import Tracker
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
    """Train the heads of a group, fit a temperature, and store them; runs in a worker."""
    pin_tensorflow(job.cores)
    from landmark_ray.models import fit_loop

    group, config, root = job.group, job.config, job.root
    options = config.train
    folder = Store(f"{root.uri}/models")
    begun = time.monotonic()
    data = read_group(root, group, config)
    tracker = Tracker(config, root, "train", job.name)
    checkpoints = Checkpoints(root, job.name, tracker.write)

    def report(epoch: int, logs: dict[str, float], model: "keras.Model") -> None:
        figures = {"epoch": epoch, **logs, **validate(model, data)}
        checkpoints.save(figures, lambda folder: fit_loop.save(model, folder))
        job.report(epoch / options.head_epochs)

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

    head = checkpoints.load(fit_loop.load) or new_head(data, group, config)
    fit_head(head, data, config, report, reports=CHECKPOINTS, done=checkpoints.epochs)
    tracker.write(checkpoints.history, finished=True)
    closed_data = closed_set_baseline(data)
    baseline = new_head(closed_data, group, config)
    fit_head(baseline, closed_data, config, lambda *_: None, reports=1)
    store(CLOSED, baseline, closed_data, 1.0)
    store(GROUPS, head, data, temperature(head, data) if options.calibrate else 1.0)


def validate(head: "keras.Model", data: GroupVectors) -> dict[str, float]:
    """Return the top-1 of a head on validation images: those of its group, and those of others."""
    y = data.validation.y
    if not len(y):
        return {}
    return top1_of_sides(logits_of(head, data).argmax(axis=1) == y, y < len(data.landmarks))


def temperature(head: "keras.Model", data: GroupVectors) -> float:
    """Return the temperature that calibrates the head's confidences on the validation images."""
    if not len(data.validation.y):
        return 1.0
    return fit_temperature(logits_of(head, data), data.validation.y, smoothing=VALIDATION_SMOOTHING)


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

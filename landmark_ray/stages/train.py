"""train: a head for each group, by Ray Train, as many side by side as there is room for.

A group whose head is stored is finished. A worker that is lost is replaced, and its group goes on
from the last checkpoint. Beside it a head by the reference's rule, for comparison.
"""

import time
from typing import Any

import ray

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
from landmark_ray.training import worker
from landmark_ray.training.dispatch import over_groups
from landmark_ray.training.fit_head import fit_head, logits_of, new_head
from landmark_ray.training.vectors import GroupVectors, closed, read_group

CHECKPOINTS = 6
"""Of a head's training, which lasts seconds."""


def run(config: Config, tables: Root, source: Source) -> StageCounts:
    """Write `models/groups` and `models/closed`."""
    return over_groups("train", GROUPS, fit_group, config, tables)


def fit_group(work: dict[str, Any]) -> None:
    """In the worker: train the head of a group, fit its temperature, store both."""
    pin_tensorflow(worker.share_of_cores(work["trainings"]))
    from landmark_ray.models import fit_loop

    group, config, tables = work["group"], work["config"], work["tables"]
    options = config.train
    folder = Store(f"{tables.uri}/models")
    begun = time.monotonic()
    data = read_group(tables, group, config)
    checkpoints = worker.Checkpoints()

    def report(epoch: int, logs: dict[str, float], model: Any) -> None:
        figures = {"epoch": epoch, **logs, **validated(model, data)}
        checkpoints.leave(figures, lambda place: fit_loop.save(model, place))
        ray.get(work["told"].tell.remote(work["name"], epoch / options.head_epochs))

    def store(place: str, head: Any, data: GroupVectors, temperature: float) -> None:
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
        write_head(folder, place, head, info)

    head = checkpoints.load(fit_loop.load) or new_head(data, group, config)
    fit_head(head, data, config, report, reports=CHECKPOINTS, done=checkpoints.done)
    own = closed(data)
    plain = new_head(own, group, config)
    fit_head(plain, own, config, lambda *_: None, reports=1)
    store(CLOSED, plain, own, 1.0)
    store(GROUPS, head, data, temperature(head, data) if options.calibrate else 1.0)


def validated(head: Any, data: GroupVectors) -> dict[str, float]:
    """What a head is worth on the validation images, of the group and of others."""
    y = data.validation.y
    if not len(y):
        return {}
    return top1_of_sides(logits_of(head, data).argmax(axis=1) == y, y < len(data.landmarks))


def temperature(head: Any, data: GroupVectors) -> float:
    """The one that makes the head's confidences on validation images the truest."""
    if not len(data.validation.y):
        return 1.0
    return fit_temperature(logits_of(head, data), data.validation.y, smoothing=VALIDATION_SMOOTHING)


def counts(data: GroupVectors) -> dict[str, int]:
    """Vectors of the group's own landmarks and of others, to learn from and to validate on."""
    found = {}
    for name, side in (("train", data.train), ("validation", data.validation)):
        own = int((side.y < len(data.landmarks)).sum())
        found |= {f"{name}_own": own, f"{name}_other": len(side.y) - own}
    return found


STAGE = Stage(
    "train",
    reads=("embeddings", "models/trunk", "examples"),
    writes=("models/groups", "models/closed"),
    run=run,
    scratch=(worker.STAGING,),
)

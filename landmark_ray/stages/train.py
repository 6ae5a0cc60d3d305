"""train: a classifier for each group, by Ray Train, as many side by side as there is room for.

A group whose head is stored is finished. A worker that is lost is replaced, and its group goes on
from the last checkpoint.
"""

import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import ray.train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig

from landmark_ray.config import Config
from landmark_ray.funnel import Funnel
from landmark_ray.kernels.calibration import fit_temperature
from landmark_ray.progress import Meter
from landmark_ray.sources import Source
from landmark_ray.stages.shards import unwrapped, workers_of
from landmark_ray.stages.vectors import GroupVectors, read_group
from landmark_ray.storage import Folder, Tables

READS = ("embed", "trunk", "group")
WRITES = ("models/groups",)
STAGING = "_staging/train"
SCRATCH = (STAGING,)

CHECKPOINTS = 6
"""Of a head's training, which lasts seconds."""


def inputs(source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {}


def run(config: Config, tables: Tables, source: Source) -> Funnel:
    """Write `models/groups`."""
    from landmark_ray.bundle import head_info

    examples = tables.dataset("examples").to_table(["landmark_id", "group"])
    sizes = {row["values"]: row["counts"] for row in pc.value_counts(examples["group"]).to_pylist()}
    folder = Folder(f"{tables.uri}/models")
    finished = {group for group in sizes if head_info(folder, group)}
    todo = sorted(set(sizes) - finished, key=lambda group: -sizes[group])
    funnel = Funnel(examples.num_rows, examples.num_rows)
    classes = examples.group_by("landmark_id").aggregate([]).num_rows
    funnel.classes_in = funnel.classes_out = classes
    for group in range(1, len(config.group.edges) + 1):
        if group not in sizes:
            funnel.notes.append(f"group {group} has no landmark: no model")
    done = sum(sizes[group] for group in finished)
    with Meter("train", examples.num_rows, done=done) as meter:
        for group in side_by_side(todo, config, tables):
            meter.add(sizes[group])
    tables.delete(STAGING)
    return funnel


def side_by_side(groups: list[int], config: Config, tables: Tables) -> Any:
    """Train groups, and yield each as it is finished."""
    if not groups:
        return
    workers, gpus, cpus = workers_of(config, "train", config.train.gpus, config.train.cpus)
    room = ScalingConfig(
        num_workers=1, use_gpu=bool(gpus), resources_per_worker={"CPU": cpus, "GPU": gpus}
    )
    pool = ThreadPoolExecutor(config.train.parallel_groups or workers)
    try:
        work = {pool.submit(train_group, g, room, config, tables): g for g in groups}
        for done in as_completed(work):
            try:
                done.result()
            except Exception as error:
                raise unwrapped(error) from None
            yield work[done]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def train_group(group: int, room: ScalingConfig, config: Config, tables: Tables) -> None:
    """Train the model of a group."""
    from ray.train.tensorflow import TensorflowTrainer

    TensorflowTrainer(
        fit_group,
        train_loop_config={"group": group, "config": config, "tables": tables},
        scaling_config=room,
        run_config=RunConfig(
            name=f"group-{group}",
            storage_path=tables.at(STAGING),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=config.train.retries),
        ),
    ).fit()


def fit_group(work: dict[str, Any]) -> None:
    """In the worker: train the head of a group, fit its temperature, store both."""
    import keras

    from landmark_ray.bundle import TRUNK, HeadInfo, write_head
    from landmark_ray.models import fitting
    from landmark_ray.models.heads import build_head

    group, config, tables = work["group"], work["config"], work["tables"]
    options = config.train
    begun = time.monotonic()
    keras.utils.set_random_seed((config.seed + group) % 2**31)
    data = read_group(tables, group, config)
    history: list[dict[str, float]] = []
    checkpoint = ray.train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as place:
            history = json.loads((Path(place) / "history.json").read_text())
            head = fitting.load(place)
    else:
        head = build_head(
            data.train.x.shape[1],
            len(data.landmarks) + data.other,
            dropout=options.dropout,
            kind=options.head,
            scale=options.scale,
        )
    done = int(history[-1]["epoch"]) if history else 0

    def report(epoch: int, logs: dict[str, float], model: keras.Model) -> None:
        history.append({"epoch": epoch, **logs, **figures(model, data)})
        with tempfile.TemporaryDirectory() as place:
            fitting.save(model, place)
            (Path(place) / "history.json").write_text(json.dumps(history))
            ray.train.report(history[-1], checkpoint=Checkpoint.from_directory(place))

    if done < options.head_epochs:
        fitting.fit(
            head,
            fitting.Batches(
                data.train.x,
                data.train.y,
                data.train.weights,
                batch=options.head_batch,
                seed=config.seed,
                epoch=done,
            ),
            rate=options.head_rate,
            epochs=options.head_epochs,
            done=done,
            warmup=options.warmup,
            options=options,
            report=report,
            every=max(options.head_epochs // CHECKPOINTS, 1),
        )
    write_head(
        Folder(f"{tables.uri}/models"),
        head,
        HeadInfo(
            group=group,
            landmarks=tuple(data.landmarks.tolist()),
            other=data.other,
            trunk=TRUNK,
            features=data.train.x.shape[1],
            kind=options.head,
            scale=options.scale,
            temperature=temperature(head, data) if options.calibrate else 1.0,
            report={"history": history, "seconds": time.monotonic() - begun, **counts(data)},
        ),
    )


SMOOTHING = 0.02
"""Of the labels that a temperature is fitted to: few validation images, all right, prove little."""


def figures(head: Any, data: GroupVectors) -> dict[str, float]:
    """What a head is worth on the validation images, of the group and of others."""
    y = data.validation.y
    if not len(y):
        return {}
    own = y < len(data.landmarks)
    right = logits_of(head, data).argmax(axis=1) == y
    shares = {"top1": right[own], "other_top1": right[~own]}
    return {name: float(hits.mean()) for name, hits in shares.items() if len(hits)}


def temperature(head: Any, data: GroupVectors) -> float:
    """The one that makes the head's confidences on validation images the truest."""
    if not len(data.validation.y):
        return 1.0
    return fit_temperature(logits_of(head, data), data.validation.y, smoothing=SMOOTHING)


def logits_of(head: Any, data: GroupVectors) -> np.ndarray:
    """[N, C] logits of the validation vectors."""
    return np.asarray(head.predict(data.validation.x.astype(np.float32), 1024, verbose=0))


def counts(data: GroupVectors) -> dict[str, int]:
    """Vectors of the group's own landmarks and of others, to learn from and to validate on."""
    found = {}
    for name, side in (("train", data.train), ("validation", data.validation)):
        own = int((side.y < len(data.landmarks)).sum())
        found |= {f"{name}_own": own, f"{name}_other": len(side.y) - own}
    return found

"""One worker of Ray Train: a training that goes on from its last checkpoint when it is lost."""

import contextlib
import functools
import json
import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import ray
import ray.train
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.ray_private import is_worker_death
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.runtime.resources import plan_workers
from landmark_ray.runtime.tasks import unwrapped

STAGING = "_staging/train"

History = list[dict[str, float]]
"""What was measured, an entry for each report; `epoch` is the number of finished epochs."""

_SCREEN = threading.Lock()
"""Trainings begin in threads of one process, which has one screen."""

Loop = Callable[[dict[str, Any]], None]
"""A training, run in a worker; its argument holds `config`, `tables` and `name`."""


def train(name: str, loop: Loop, work: dict[str, Any]) -> None:
    """Run a training loop in a worker of its own, on the cores and GPUs that it may have.

    Args:
        name: of the training; its checkpoints lie under it in the root until the stage is finished.
        loop: run in the worker.
        work: its argument, of `work_of`; `name` is added.

    Raises:
        UserError: anything that a person can mend.
    """
    with muted():
        from ray.train.tensorflow import TensorflowTrainer

    config, tables = work["config"], work["tables"]
    workers = plan_workers(config, "train.", config.train)
    try:
        result = TensorflowTrainer(
            in_words(loop),
            train_loop_config={**work, "name": name},
            scaling_config=ScalingConfig(
                num_workers=1,
                use_gpu=bool(workers.gpus),
                resources_per_worker=workers.each,
            ),
            run_config=RunConfig(
                name=name,
                storage_path=storage_of(tables),
                checkpoint_config=CheckpointConfig(num_to_keep=1),
                failure_config=FailureConfig(max_failures=config.train.retries),
            ),
        ).fit()
    except TrainingFailedError as error:
        raise in_a_line(name, error, config) from None
    if result.return_value:
        raise UserError(result.return_value)


def in_a_line(name: str, error: TrainingFailedError, config: Config) -> Exception:
    """What a person needs to know of a training that failed; of a mistake of ours, all."""
    failures = getattr(error, "worker_failures", {}).values()
    if any(is_worker_death(failure) for failure in failures):
        return UserError(
            f"{name}: its worker died more often than --train.retries {config.train.retries} "
            "allows, as one does that runs out of memory: free some, or lower --train.batch or "
            "--train.parallel_groups; the same command goes on from the last checkpoint"
        )
    return error


def in_words(loop: Loop) -> Callable[[dict[str, Any]], str]:
    """A loop that returns the UserError which ended it, in words: no new worker would do better."""

    @functools.wraps(loop)
    def run(work: dict[str, Any]) -> str:
        try:
            loop(work)
        except Exception as error:
            if "No space left on device" in str(error):
                root = work["tables"].uri
                return f"{root}: no space left; free some, and the same command goes on"
            mended = unwrapped(error)
            if not isinstance(mended, UserError):
                raise
            return str(mended)
        return ""

    return run


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Keep what C++ prints off the screen: TensorFlow's greetings heed no setting."""
    with _SCREEN, open(os.devnull, "wb") as nothing:
        sys.stderr.flush()
        screen = os.dup(2)
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(screen, 2)
            os.close(screen)


def work_of(config: Config, tables: Root, told: Any, trainings: int) -> dict[str, Any]:
    """What all trainings are told: with `readers`, the number and the cores of each one's tasks.

    Args:
        config: all options.
        tables: the root.
        told: of `watched`.
        trainings: that run side by side. They leave some cores, which all readers share.
    """
    cpus = plan_workers(config, "train.", config.train).cpus
    have = ray.cluster_resources()["CPU"]
    readers = max(int(have) // trainings, 1)
    left = max(have - trainings * cpus, 0.1 * have)
    each = math.floor(0.9 * left / (readers * trainings) * 1e4) / 1e4
    return {
        "config": config,
        "tables": tables,
        "told": told,
        "trainings": trainings,
        "readers": (readers, each),
    }


def side_by_side(config: Config) -> int:
    """How many trainings there is room for."""
    workers = plan_workers(config, "train.", config.train).count
    return min(config.train.parallel_groups or workers, workers)


def share_of_cores(trainings: int) -> int:
    """In a worker: its cores of this machine, where so many trainings run at once at most."""
    return max((os.cpu_count() or 1) // trainings, 1)


def storage_of(tables: Root, place: str = STAGING) -> str:
    """A folder of the root, as Ray Train and Ray Tune take it."""
    return tables.at(place) if tables.local else f"{tables.uri}/{place}"


class Checkpoints:
    """In a worker: the last checkpoint, and the way to leave another."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self.history: History = []

    @property
    def done(self) -> int:
        """Finished epochs."""
        return int(self.history[-1]["epoch"]) if self.history else 0

    def load(self, read: Callable[[str], Any]) -> Any:
        """What `read` makes of the last checkpoint's folder; None where there is no checkpoint.

        Raises:
            UserError: it is damaged.
        """
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as place:
            try:
                told = json.loads((Path(place) / "history.json").read_text())
                self.history = [{**entry, "epoch": int(entry["epoch"])} for entry in told]
                return read(place)
            except (ValueError, KeyError, TypeError, OSError, BadZipFile) as error:
                why = " ".join(str(error).split())[:200]
                raise UserError(
                    f"the checkpoint {checkpoint.path} is damaged ({why}): --redo its stage"
                ) from None

    def leave(self, figures: dict[str, float], write: Callable[[str], None]) -> None:
        """Report figures, with a checkpoint whose folder `write` fills."""
        self.history.append(figures)
        with tempfile.TemporaryDirectory() as place:
            write(place)
            (Path(place) / "history.json").write_text(json.dumps(self.history))
            ray.train.report(figures, checkpoint=Checkpoint.from_directory(place))


class Done:
    """How much of each training is done, told by the workers, asked by the driver."""

    def __init__(self) -> None:
        """Nothing is done."""
        self.shares: dict[str, float] = {}

    def tell(self, name: str, share: float) -> None:
        """A training is so far, from 0 to 1; a worker that is replaced goes back a little."""
        self.shares[name] = share

    def ask(self) -> dict[str, float]:
        """All that was told."""
        return self.shares


@contextlib.contextmanager
def watched(meter: ProgressBar, sizes: dict[str, int], config: Config) -> Iterator[Any]:
    """An actor that workers tell how far they are; a meter follows it.

    It lives with the driver: were it lost with another node, all trainings would be.

    Args:
        meter: counts images.
        sizes: images of each training, by its name.
        config: for Ray.
    """
    start_ray(config)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(Done).options(num_cpus=0, scheduling_strategy=here).remote()
    stop = threading.Event()
    before = meter.done

    def follow() -> None:
        while not stop.wait(0.5):
            shares: dict[str, float] = ray.get(actor.ask.remote())
            now = before + int(sum(sizes[name] * share for name, share in shares.items()))
            meter.add(max(now - meter.done, 0))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield actor
    finally:
        stop.set()
        thread.join()
    meter.add(before + sum(sizes.values()) - meter.done)

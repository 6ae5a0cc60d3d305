"""Workers of Ray Train: each trains one group after the other, and a lost one is replaced.

A worker imports TensorFlow once, and takes a group from a queue whenever it has finished one, so
that a slow worker holds up no other. A worker that is lost goes on from the last checkpoint of the
group that it had begun.
"""

import dataclasses
import functools
import math
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import cast

import ray
from ray.actor import ActorHandle

from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.ray_private import is_worker_death
from landmark_ray.runtime.resources import plan_workers
from landmark_ray.runtime.tasks import unwrapped
from landmark_ray.training.checkpoints import STAGING
from landmark_ray.training.progress_actor import ProgressActor, tracked

ALL_GROUPS = 0
"""In place of a group's number: the training of the trunk, on the landmarks of all groups."""


@dataclass(frozen=True)
class TrainingJob:
    """What a training needs to know.

    Attributes:
        config: all options.
        tables: the root.
        progress: the stage's `ProgressActor`.
        parallel: number of workers that train side by side.
        readers: number of tasks that read photos for a training at once.
        reader_cpus: cores that each of these tasks reserves.
        group: number of the group that is trained, or ALL_GROUPS.
    """

    config: Config
    tables: Root
    progress: ActorHandle[ProgressActor]
    parallel: int
    readers: int
    reader_cpus: float
    group: int = ALL_GROUPS

    @property
    def name(self) -> str:
        """Name of the training, under which its checkpoints lie."""
        return training_name(self.group)

    @property
    def cores(self) -> int:
        """In a worker: its share of this machine's cores, one at least."""
        return max((os.cpu_count() or 1) // self.parallel, 1)

    def report(self, share: float) -> None:
        """Tell the driver which share of the training is done, from 0 to 1."""
        ray.get(self.progress.report.remote(self.group, share))


Loop = Callable[[TrainingJob], None]
"""A training from its beginning, or its last checkpoint, to its end; run in a worker."""


def training_name(group: int) -> str:
    """Name of a group's training."""
    return "trunk" if group == ALL_GROUPS else f"group-{group}"


def run_trainings(
    sizes: dict[int, int], loop: Loop, config: Config, tables: Root, meter: ProgressBar
) -> None:
    """Train groups in as many workers as there is room for, the largest first.

    Args:
        sizes: group -> images that its training counts as seen.
        loop: trains one group.
        config: all options.
        tables: the root.
        meter: counts images.

    Raises:
        UserError: anything that a person can mend.
    """
    groups = sorted(sizes, key=lambda group: -sizes[group])
    count = min(parallel_trainings(config), len(groups))
    with tracked(meter, sizes, groups) as progress:
        job = TrainingJob(config, tables, progress, count, *readers_of(config, count))
        pool = ThreadPoolExecutor(count)
        try:
            names = [f"worker-{number}" for number in range(1, count + 1)]
            workers = [pool.submit(run_worker, name, loop, job) for name in names]
            for worker in as_completed(workers):
                worker.result()
        finally:
            progress.stop.remote()
            pool.shutdown(wait=False, cancel_futures=True)


def run_worker(name: str, loop: Loop, job: TrainingJob) -> None:
    """Run a worker until no group waits; replace it when it is lost.

    Args:
        name: of the worker, the same for the one that replaces it.
        loop: trains one group.
        job: what all trainings have in common.

    Raises:
        UserError: a group lost more workers than --train.retries, or something to mend.
    """
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError

    # TensorflowTrainer would import TensorFlow in the driver and in Ray Train's controller, too
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    resources = plan_workers(job.config, "train.", job.config.train)
    trainer = DataParallelTrainer(
        functools.partial(train_in_turn, name, loop, job),
        scaling_config=ScalingConfig(
            num_workers=1,
            use_gpu=bool(resources.gpus),
            resources_per_worker=resources.each,
        ),
        run_config=RunConfig(name=name, storage_path=storage_of(job.tables)),
    )
    lost: Counter[str] = Counter()
    while True:
        try:
            error = trainer.fit().return_value  # type: ignore[attr-defined]
            break
        except TrainingFailedError as failure:
            group = cast(int | None, ray.get(job.progress.current.remote(name)))
            training = name if group is None else training_name(group)
            lost[training] += 1
            if lost[training] > job.config.train.retries:
                raise to_user_error(training, failure, job.config) from None
    if error:
        raise UserError(error)


def train_in_turn(worker: str, loop: Loop, job: TrainingJob) -> str:
    """In a worker: train group after group.

    Returns:
        The text of the UserError that ended it; empty when all groups are trained.
    """
    while True:
        group = cast(int | None, ray.get(job.progress.take.remote(worker)))
        if group is None:
            return ""
        if error := catch_user_error(loop)(dataclasses.replace(job, group=group)):
            return error
        ray.get(job.progress.finish.remote(worker))
        import keras  # the loop has said with how many threads

        keras.utils.clear_session()  # frees the networks of this group


def to_user_error(training: str, error: Exception, config: Config) -> Exception:
    """Return a UserError where a training's worker was lost, and any other error as it is."""
    failures = getattr(error, "worker_failures", {}).values()
    if any(is_worker_death(failure) for failure in failures):
        return UserError(
            f"{training}: its worker died more often than --train.retries {config.train.retries} "
            "allows, as one does that runs out of memory: free some, or lower --train.batch or "
            "--train.parallel_groups; the same command goes on from the last checkpoint"
        )
    return error


def catch_user_error(loop: Loop) -> Callable[[TrainingJob], str]:
    """Return a loop that returns the text of a UserError: no new worker would do better."""

    @functools.wraps(loop)
    def run(job: TrainingJob) -> str:
        try:
            loop(job)
        except Exception as error:
            if "No space left on device" in str(error):
                return f"{job.tables.uri}: no space left; free some, and the same command goes on"
            cause = unwrapped(error)
            if not isinstance(cause, UserError):
                raise
            return str(cause)
        return ""

    return run


def parallel_trainings(config: Config) -> int:
    """Return how many trainings there is room for side by side."""
    workers = plan_workers(config, "train.", config.train).count
    return min(config.train.parallel_groups or workers, workers)


def readers_of(config: Config, parallel: int) -> tuple[int, float]:
    """Return the number of a training's reading tasks, and the cores that each one reserves.

    Args:
        config: all options.
        parallel: trainings side by side; all their readers share the cores that they leave.
    """
    cpus = plan_workers(config, "train.", config.train).cpus
    cores: float = ray.cluster_resources()["CPU"]
    readers = max(int(cores) // parallel, 1)
    left = max(cores - parallel * cpus, 0.1 * cores)
    return readers, math.floor(0.9 * left / (readers * parallel) * 1e4) / 1e4


def storage_of(tables: Root, folder: str = STAGING) -> str:
    """Return a folder of the root as Ray Train and Ray Tune take it."""
    return tables.path_of(folder) if tables.local else f"{tables.uri}/{folder}"

"""Workers of Ray Train: each trains one group after the other, and a lost one is replaced.

A worker imports TensorFlow once, and takes the next group from a queue whenever it has finished
one, so that no worker waits for a slow one. The worker that replaces a lost one continues from the
last checkpoint of its group.
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
from landmark_ray.runtime.tasks import unwrap_ray_error
from landmark_ray.training.checkpoints import STAGING
from landmark_ray.training.progress_actor import ProgressActor, tracked

ALL_GROUPS = 0
"""The number of a group that stands for the training of the trunk on all landmarks."""


@dataclass(frozen=True)
class TrainingJob:
    """The inputs of a training.

    Attributes:
        config: All options.
        root: The root.
        progress: The `ProgressActor` of the stage.
        parallel: Number of workers that train at the same time.
        readers: Number of tasks that read photos for a training at the same time.
        reader_cpus: Cores that each of these tasks reserves.
        group: Number of the group that is trained, or ALL_GROUPS.
    """

    config: Config
    root: Root
    progress: ActorHandle[ProgressActor]
    parallel: int
    readers: int
    reader_cpus: float
    group: int = ALL_GROUPS

    @property
    def name(self) -> str:
        """Return the name of the training, which is also the folder of its checkpoints."""
        return training_name(self.group)

    @property
    def cores(self) -> int:
        """Return the worker's share of the cores of its machine, at least one."""
        return max((os.cpu_count() or 1) // self.parallel, 1)

    def report(self, share: float) -> None:
        """Report the progress of the training to the driver, 0 to 1."""
        ray.get(self.progress.report.remote(self.group, share))


Loop = Callable[[TrainingJob], None]
"""Runs a training to its end in a worker, from its last checkpoint if there is one."""


def training_name(group: int) -> str:
    """Return the name of the training of a group."""
    return "trunk" if group == ALL_GROUPS else f"group-{group}"


def run_trainings(
    sizes: dict[int, int], loop: Loop, config: Config, root: Root, progress_bar: ProgressBar
) -> None:
    """Train groups in as many workers as there is room for, the largest group first.

    Args:
        sizes: Group -> number of images that its training uses, each counted once per epoch.
        loop: Trains one group.
        config: All options.
        root: The root.
        progress_bar: Shows the number of images.

    Raises:
        UserError: A training raised it, or lost more workers than --train.retries.
    """
    groups = sorted(sizes, key=lambda group: -sizes[group])
    count = min(parallel_trainings(config), len(groups))
    with tracked(progress_bar, sizes, groups) as progress:
        job = TrainingJob(config, root, progress, count, *readers_of(config, count))
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
    """Run a worker until no group waits, and replace it when it is lost.

    Args:
        name: The name of the worker and of those that replace it.
        loop: Trains one group.
        job: The inputs that all trainings have in common.

    Raises:
        UserError: A training raised it, or lost more workers than --train.retries.
    """
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError

    # TensorflowTrainer would also import TensorFlow in the driver and in Ray Train's controller
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    workers = plan_workers(job.config, "train.", job.config.train)
    trainer = DataParallelTrainer(
        functools.partial(train_in_turn, name, loop, job),
        scaling_config=ScalingConfig(
            num_workers=1,
            use_gpu=bool(workers.gpus),
            resources_per_worker=workers.resources,
        ),
        run_config=RunConfig(name=name, storage_path=storage_of(job.root)),
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
    """Train one group after the other; runs in a worker.

    Returns:
        The text of the UserError that ended a training; empty when all groups are trained.
    """
    while True:
        group = cast(int | None, ray.get(job.progress.take.remote(worker)))
        if group is None:
            return ""
        if error := catch_user_error(loop)(dataclasses.replace(job, group=group)):
            return error
        ray.get(job.progress.finish.remote(worker))
        import keras  # only now, as the loop sets the number of threads before

        keras.utils.clear_session()  # frees the networks of this group


def to_user_error(training: str, error: Exception, config: Config) -> Exception:
    """Return a UserError if the worker of a training died, and any other error unchanged."""
    failures = getattr(error, "worker_failures", {}).values()
    if any(is_worker_death(failure) for failure in failures):
        return UserError(
            f"{training}: its worker died more often than --train.retries {config.train.retries} "
            "allows. It may have run out of memory: free some, or lower --train.batch or "
            "--train.parallel_groups; the same command continues from the last checkpoint"
        )
    return error


def catch_user_error(loop: Loop) -> Callable[[TrainingJob], str]:
    """Wrap a loop so that it returns the text of a UserError, which a new worker cannot solve."""

    @functools.wraps(loop)
    def run(job: TrainingJob) -> str:
        try:
            loop(job)
        except Exception as error:
            if "No space left on device" in str(error):
                return f"{job.root.uri}: no space left; free some, and run the same command again"
            cause = unwrap_ray_error(error)
            if not isinstance(cause, UserError):
                raise
            return str(cause)
        return ""

    return run


def parallel_trainings(config: Config) -> int:
    """Return the number of trainings that run at the same time."""
    workers = plan_workers(config, "train.", config.train).count
    return min(config.train.parallel_groups or workers, workers)


def readers_of(config: Config, parallel: int) -> tuple[int, float]:
    """Return the number of reading tasks of a training, and the cores that each reserves.

    The readers of all trainings share the cores that the trainings leave.

    Args:
        config: All options.
        parallel: Number of trainings that run at the same time.
    """
    cpus = plan_workers(config, "train.", config.train).cpus
    cores: float = ray.cluster_resources()["CPU"]
    readers = max(int(cores) // parallel, 1)
    left = max(cores - parallel * cpus, 0.1 * cores)
    return readers, math.floor(0.9 * left / (readers * parallel) * 1e4) / 1e4


def storage_of(root: Root, folder: str = STAGING) -> str:
    """Return the path or URI of a folder of the root, as Ray Train and Ray Tune expect it."""
    return root.path_of(folder) if root.local else f"{root.uri}/{folder}"

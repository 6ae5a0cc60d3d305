"""Run units of work as tasks on the cluster and collect their counts; the first error ends the run.

The driver never holds the rows of images. Each task reads its files and commits its own results, so
that a killed run loses only the tasks in flight.
"""

import functools
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import ray
from ray.data import Dataset

from landmark_ray.config.base import Options
from landmark_ray.errors import UserError
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.error_log import deserialize_error, serialize_error
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.runtime.resources import pin_threads

TASKS_PER_CORE, MIN_TASKS_OF_CLUSTER, MAX_TASKS = 64, 1024, 4096
"""Units are divided among `TASKS_PER_CORE` tasks per core. More tasks cost more scheduling, because
Ray Data takes up to 0.1 s to start the next one. A cluster, which may grow, gets at least
`MIN_TASKS_OF_CLUSTER` tasks. `MAX_TASKS` is the upper limit everywhere."""

LIGHT_TASKS_PER_CORE, MAX_LIGHT_UNITS_PER_TASK = 8, 256
"""Light units are divided among `LIGHT_TASKS_PER_CORE` tasks per core, or among more where a task
would take over `MAX_LIGHT_UNITS_PER_TASK` units. Between two tasks a core waits, for 0.05 s here
and up to 0.2 s on a cluster; at the end, cores wait for the last task. The progress bar moves when
a task ends."""

Row = dict[str, Any]

T = TypeVar("T")


def unwrap_ray_error(error: BaseException) -> BaseException:
    """Return the UserError that a Ray task raised, where one caused an error; else the error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return UserError(*cause.args[:1]) if type(cause) is not UserError else cause
        inner = getattr(cause, "cause", None)
        cause = inner if isinstance(inner, BaseException) else cause.__cause__
    return error


def probe_on_cluster(config: Options, work: Callable[..., T], *args: Any) -> T:
    """Call a function once in a task of one core, and return its result.

    Args:
        config: The options that Ray is started with.
        work: The function; it is not repeated when its worker is lost.
        *args: Its arguments.

    Raises:
        UserError: The function raised it.
    """
    start_ray(config)
    try:
        return cast(T, ray.get(ray.remote(work).options(max_retries=0).remote(*args)))
    except ray.exceptions.RayTaskError as error:
        raise unwrap_ray_error(error) from None


def shard_task(work: Callable[..., Row]) -> Callable[..., Row]:
    """Wrap a function of a unit so that its time, and its error as text, reach the driver.

    Ray Data would lose the exception that it wraps. The row of the result says in `error` (a
    message of a UserError) or in `raised` (any other error, serialized) what went wrong; both are
    empty otherwise. A unit that failed in an earlier step is returned unchanged. `seconds` is the
    time of the last step, which is the one that keeps cores or GPUs busy.
    """

    @functools.wraps(work)
    def task(*args: Any) -> Row:
        if args[-1].get("error") or args[-1].get("raised"):
            return args[-1]
        pin_threads()
        begun = time.monotonic()
        try:
            done = work(*args)
            return {**done, "error": "", "raised": "", "seconds": time.monotonic() - begun}
        except Exception as error:
            cause = unwrap_ray_error(error)
            failed = {"rows": 0, "report": "", "error": "", "raised": "", "seconds": 0.0}
            if isinstance(cause, UserError):
                return {**failed, "error": str(cause)}
            return {**failed, "raised": serialize_error(error)}

    return task


def run_tasks(
    units: list[Row],
    transform: Callable[[Dataset], Dataset],
    config: Options,
    progress_bar: ProgressBar,
    *,
    light: bool = False,
) -> StageCounts:
    """Run units of work on the cluster, and return the sum of their counts.

    Args:
        units: One row for each unit, the largest first.
        transform: Maps the dataset of units with functions that `shard_task` wraps. The resulting
            rows have `rows` (the number that the progress bar adds) and `report` (the unit's
            StageCounts as JSON).
        config: The options that Ray is started with.
        progress_bar: Shows the rows that are done.
        light: Whether a unit takes well under a second; then a task takes several units.

    Raises:
        UserError: A unit raised it.
    """
    counts = StageCounts()
    if not units:
        return counts
    start_ray(config)
    cores = ray.cluster_resources()["CPU"]
    minimum = MIN_TASKS_OF_CLUSTER if os.environ.get("RAY_ADDRESS") else 1
    wanted = max(TASKS_PER_CORE * cores, minimum)
    if light:
        wanted = max(LIGHT_TASKS_PER_CORE * cores, len(units) / MAX_LIGHT_UNITS_PER_TASK)
    tasks = min(len(units), int(wanted), MAX_TASKS)
    spread = [unit for task in range(tasks) for unit in units[task::tasks]]
    try:
        for row in transform(ray.data.from_items(spread, override_num_blocks=tasks)).iter_rows():
            if row["error"]:
                raise UserError(row["error"])
            if row["raised"]:
                raise deserialize_error(row["raised"])
            progress_bar.add(row["rows"])
            counts.add(StageCounts.from_json(row["report"]))
            counts.task_seconds += row["seconds"]
    except Exception as error:
        cause = unwrap_ray_error(error)
        raise cause from (None if cause is not error else error.__cause__)

    return counts

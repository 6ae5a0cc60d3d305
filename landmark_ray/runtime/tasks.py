"""Tasks on the cluster: units of work go in, their counts come out, and the first error ends a run.

The rows of images never pass through the driver: each task reads its files and commits its own, so
a killed run loses no more than the tasks in flight.
"""

import functools
import os
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

TASKS, LEAST, MOST = 64, 1024, 4096
"""Units are dealt to so many Ray tasks a core: more cost scheduling, and Ray Data takes up to 0.1 s
to start the next one. To LEAST at least on a cluster, which may grow, and to MOST at most."""

LIGHT_TASKS, LIGHT_UNITS = 2, 256
"""Light units are spread over two tasks a core, or over more, so that a task takes 256 at most.
Between two tasks a core waits for up to 0.2 s, and progress is seen when a task ends."""

Row = dict[str, Any]

T = TypeVar("T")


def unwrap_ray_error(error: BaseException) -> BaseException:
    """The UserError that a Ray task raised, if that is what an error comes from."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return UserError(*cause.args[:1]) if type(cause) is not UserError else cause
        inner = getattr(cause, "cause", None)
        cause = inner if isinstance(inner, BaseException) else cause.__cause__
    return error


def probe_on_cluster(config: Options, work: Callable[..., T], *args: Any) -> T:
    """What a function returns that runs once on the cluster, on a core.

    Raises:
        UserError: that it raised.
    """
    start_ray(config)
    try:
        return cast(T, ray.get(ray.remote(work).options(max_retries=0).remote(*args)))
    except ray.exceptions.RayTaskError as error:
        raise unwrap_ray_error(error) from None


def shard_task(work: Callable[..., Row]) -> Callable[..., Row]:
    """A function of a unit whose error ends the run: Ray Data would forget what it wraps.

    A unit that failed in an earlier step passes through.
    """

    @functools.wraps(work)
    def unit(*args: Any) -> Row:
        if args[-1].get("error") or args[-1].get("raised"):
            return args[-1]
        pin_threads()
        try:
            return {**work(*args), "error": "", "raised": ""}
        except Exception as error:
            mended = unwrap_ray_error(error)
            nothing = {"rows": 0, "report": "", "error": "", "raised": ""}
            if isinstance(mended, UserError):
                return {**nothing, "error": str(mended)}
            return {**nothing, "raised": serialize_error(error)}

    return unit


def run_tasks(
    units: list[Row],
    plan: Callable[[Dataset], Dataset],
    config: Options,
    progress_bar: ProgressBar,
    *,
    light: bool = False,
) -> StageCounts:
    """Run a plan over units and add up the funnels of its reports.

    Args:
        units: rows, the largest first.
        plan: units to reports, by functions that are `unit_of_work`: rows with `rows` (for the
            progress bar) and `report` (Funnel as JSON).
        config: for Ray.
        progress_bar: counts the rows.
        light: units of well under a second; a task takes several.
    """
    counts = StageCounts()
    if not units:
        return counts
    start_ray(config)
    cores = ray.cluster_resources()["CPU"]
    least = LEAST if os.environ.get("RAY_ADDRESS") else 1
    most = max(TASKS * cores, least)
    if light:
        most = max(LIGHT_TASKS * cores, len(units) / LIGHT_UNITS)
    tasks = min(len(units), int(most), MOST)
    spread = [unit for task in range(tasks) for unit in units[task::tasks]]
    try:
        for row in plan(ray.data.from_items(spread, override_num_blocks=tasks)).iter_rows():
            if row["error"]:
                raise UserError(row["error"])
            if row["raised"]:
                raise deserialize_error(row["raised"])
            progress_bar.add(row["rows"])
            counts.add(StageCounts.from_json(row["report"]))
    except Exception as error:
        mended = unwrap_ray_error(error)
        raise mended from (None if mended is not error else error.__cause__)
    return counts

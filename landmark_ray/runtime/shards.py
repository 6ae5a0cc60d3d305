"""What the stages share: starting Ray, and driving a Ray dataset of units of work to its end.

A stage turns a dataset of units (rows that name a shard) into a dataset of reports (rows with a
funnel). The rows of images never pass through the driver: each unit reads its files and commits its
own, so a killed run loses no more than the units in flight.
"""

import functools
import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import ray
from ray.data import DataContext, Dataset

from landmark_ray.config.base import Options
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.runtime import ray_start
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.error_log import packed, unpacked
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.resources import Workers, check, pin_threads

TASKS, LEAST, MOST = 64, 1024, 4096
"""Units are dealt to so many Ray tasks a core: more cost scheduling, and Ray Data takes up to 0.1 s
to start the next one. To LEAST at least on a cluster, which may grow, and to MOST at most."""

LIGHT_TASKS = 4
"""Tasks a core for light units."""

Row = dict[str, Any]

T = TypeVar("T")


def start_ray(config: Options, **local: Any) -> None:
    """Join the cluster of RAY_ADDRESS or of the submitted job, else start Ray on this machine.

    Args:
        config: its size.
        **local: of `ray.init`, where it is started.

    Raises:
        UserError: no cluster answers, or Ray doesn't start.
    """
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        quiet: Row = {"log_to_driver": False, "logging_level": "ERROR"}
        if address := os.environ.get("RAY_ADDRESS"):
            ray_start.join(address, **quiet)
        else:
            ray_start.start(
                num_cpus=config.cluster.cpus,
                object_store_memory=int(config.cluster.object_store_gb * 1e9),
                **quiet,
                **local,
            )
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def plan_workers(config: Options, section: str, wishes: Any) -> Workers:
    """Workers that hold a model, for what the cluster has.

    A tenth of the cores is left to other tasks: workers that take all would starve them for ever.

    Args:
        config: for Ray.
        section: of the options, such as "train.", for the error.
        wishes: of each: `cpus` where it has no GPU; `gpus`, when None 1 where there are any;
            `memory_gb`.

    Raises:
        UserError: there are fewer GPUs, or less of all else.
    """
    start_ray(config)
    check(f"--{section}", wishes)
    have = ray.cluster_resources()
    gpus = float(have.get("GPU", 0) >= 1) if wishes.gpus is None else wishes.gpus
    if gpus > have.get("GPU", 0):
        raise UserError(
            f"--{section}gpus {gpus:g}: the cluster has {have.get('GPU', 0):g} GPUs; "
            "leave it out to use what there is"
        )
    each = 0.5 if gpus else 0.9 * wishes.cpus
    count = int(have["GPU"] / gpus if gpus else 0.9 * have["CPU"] / each)
    memory = int((wishes.memory_gb or 0) * 1e9)
    if memory:
        count = min(count, int(have.get("memory", 0) / memory))
    return Workers(max(count, 1), gpus, each, memory)


def unwrapped(error: BaseException) -> BaseException:
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
        raise unwrapped(error) from None


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
            mended = unwrapped(error)
            nothing = {"rows": 0, "report": "", "error": "", "raised": ""}
            if isinstance(mended, UserError):
                return {**nothing, "error": str(mended)}
            return {**nothing, "raised": packed(error)}

    return unit


def idempotent(table: str, tables: Root, work: Callable[[Row], Row]) -> Callable[[Row], Row]:
    """A unit's work, unless its file in `table` is there: Ray repeats the task of a lost worker."""

    @shard_task
    def unit(row: Row) -> Row:
        report = tables.report(table, row["bucket"], row["shard"])
        return {"rows": row["rows"], "report": report} if report else work(row)

    return unit


def run_tasks(
    units: list[Row],
    plan: Callable[[Dataset], Dataset],
    config: Options,
    meter: ProgressBar,
    *,
    light: bool = False,
) -> StageCounts:
    """Run a plan over units and add up the funnels of its reports.

    Args:
        units: rows, the largest first.
        plan: units to reports, by functions that are `unit_of_work`: rows with `rows` (for the
            meter) and `report` (Funnel as JSON).
        config: for Ray.
        meter: counts the rows.
        light: units of well under a second; a task takes several.
    """
    funnel = StageCounts()
    if not units:
        return funnel
    start_ray(config)
    cores = ray.cluster_resources()["CPU"]
    least = LEAST if os.environ.get("RAY_ADDRESS") else 1
    most = LIGHT_TASKS * cores if light else max(TASKS * cores, least)
    tasks = min(len(units), int(most), MOST)
    try:
        for row in plan(ray.data.from_items(units, override_num_blocks=tasks)).iter_rows():
            if row["error"]:
                raise UserError(row["error"])
            if row["raised"]:
                raise unpacked(row["raised"])
            meter.add(row["rows"])
            funnel.add(StageCounts.from_json(row["report"]))
    except Exception as error:
        mended = unwrapped(error)
        raise mended from (None if mended is not error else error.__cause__)
    return funnel


def run_over_shards(
    title: str,
    table: str,
    tables: Root,
    config: Options,
    plan: Callable[[Dataset], Dataset],
    *,
    light: bool = False,
) -> StageCounts:
    """Run a plan over the shards of the catalog whose file in `table` doesn't exist yet."""
    shards = tables.shards()
    done = tables.committed(table)
    funnel = StageCounts.total(done.values())
    todo = [s for s in shards if s.key not in done]
    before = sum(s.images for s in shards) - sum(s.images for s in todo)
    with ProgressBar(title, sum(s.images for s in shards), done=before) as meter:
        rows = [{"bucket": s.bucket, "shard": s.shard, "rows": s.images} for s in todo]
        funnel.add(run_tasks(rows, plan, config, meter, light=light))
    return funnel

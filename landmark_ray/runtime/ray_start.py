"""Ray's start: on a busy machine it has more than its 30 s, and where it fails, a line says why."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

import psutil
import ray
from ray.data import DataContext

from landmark_ray.config.base import Options
from landmark_ray.errors import UserError
from landmark_ray.runtime import interrupts, ray_private

START_S = 180
"""Each of Ray's own processes may take so long."""


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
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address := os.environ.get("RAY_ADDRESS"):
            join(address, **quiet)
        else:
            start_local(
                num_cpus=config.cluster.cpus,
                object_store_memory=int(config.cluster.object_store_gb * 1e9),
                **quiet,
                **local,
            )
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def join(address: str, **options: Any) -> None:
    """Ray of a cluster.

    Args:
        address: that `ray.init` reads from RAY_ADDRESS.
        **options: of `ray.init`.

    Raises:
        UserError: none answers, or it takes no client like this one.
    """
    with (
        _as_user_error(f"RAY_ADDRESS {address}: this cluster can't be joined", ""),
        ray_private.quiet_core(),
    ):
        ray.init(**options)


def start_local(**options: Any) -> None:
    """Ray of this process, on this machine alone.

    Args:
        **options: of `ray_private.init_on_loopback`.

    Raises:
        UserError: it doesn't start.
    """
    load = f"(load {os.getloadavg()[0]:.0f} on {len(os.sched_getaffinity(0))} cores)"
    advice = (
        f"; if this machine is busy {load}, try again when it is less so; "
        f"Ray's logs are in {ray_private.logs_folder()}"
    )
    more_time = ray_private.longer_start_timeout(START_S, _raylet_lives)
    with _as_user_error("Ray didn't start on this machine", advice), interrupts.held(), more_time:
        ray_private.init_on_loopback(**options)


def _raylet_lives() -> bool:
    """Whether this process has one."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process().children()
        return any(c.name() == "raylet" and c.status() != psutil.STATUS_ZOMBIE for c in children)
    return True


@contextlib.contextmanager
def _as_user_error(what: str, advice: str) -> Iterator[None]:
    """What Ray raises, as an error for people: it has many types for what people can mend."""
    try:
        yield
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{what}: {why.split('. ')[0][:300].rstrip('.')}{advice}") from error

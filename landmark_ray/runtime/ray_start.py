"""Start Ray, or join a cluster; allow a busy machine more time, and report a failure in a line."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

import psutil
import ray
from ray.data import DataContext

from landmark_ray.config.base import Options
from landmark_ray.errors import UserError, redact_url
from landmark_ray.runtime import interrupts, ray_private

START_S = 180
"""Seconds that each of Ray's own processes may take to start; Ray allows 30."""


def start_ray(config: Options, **local: Any) -> None:
    """Join the cluster of RAY_ADDRESS or of the submitted job, or start Ray on this machine.

    Args:
        config: The options, with the size of the local Ray.
        **local: Further arguments of `ray.init` for the local Ray.

    Raises:
        UserError: The cluster cannot be joined, or Ray does not start.
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
    """Join a cluster.

    Args:
        address: The value of RAY_ADDRESS, for errors; `ray.init` reads it by itself.
        **options: Arguments of `ray.init`.

    Raises:
        UserError: No cluster answers, or it refuses this client, for example by its version.
    """
    with (
        _as_user_error(f"RAY_ADDRESS {address}: this cluster can't be joined", ""),
        ray_private.quiet_core(),
    ):
        ray.init(**options)


def start_local(**options: Any) -> None:
    """Start Ray on this machine, for this process only.

    Args:
        **options: Arguments of `ray_private.init_on_loopback`.

    Raises:
        UserError: Ray does not start.
    """
    load = f"(load {os.getloadavg()[0]:.0f} on {len(os.sched_getaffinity(0))} cores)"
    advice = (
        f"; if this machine is busy {load}, try again later; "
        f"Ray's logs are in {ray_private.logs_folder()}"
    )
    more_time = ray_private.longer_start_timeout(START_S, _raylet_lives)
    with _as_user_error("Ray didn't start on this machine", advice), interrupts.held(), more_time:
        ray_private.init_on_loopback(**options)


def _raylet_lives() -> bool:
    """Return whether a raylet that this process started is alive, or may be."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process().children()
        return any(c.name() == "raylet" and c.status() != psutil.STATUS_ZOMBIE for c in children)
    return True


@contextlib.contextmanager
def _as_user_error(what: str, advice: str) -> Iterator[None]:
    """Convert any error of Ray into a UserError of one line: Ray's own errors have many types."""
    try:
        yield
    except Exception as error:
        reason = redact_url(" ".join(str(error).split())) or type(error).__name__
        raise UserError(f"{what}: {reason.split('. ')[0][:300].rstrip('.')}{advice}") from error

"""Ray's start: on a busy machine it has more than its 30 s, and where it fails, a line says why."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private import ray_constants, services
from ray.data import DataContext

from landmark_ray.config.base import Options
from landmark_ray.errors import UserError
from landmark_ray.runtime import interrupts

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
            _join(address, **quiet)
        else:
            _start(
                num_cpus=config.cluster.cpus,
                object_store_memory=int(config.cluster.object_store_gb * 1e9),
                **quiet,
                **local,
            )
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _join(address: str, **options: Any) -> None:
    """Ray of a cluster.

    Args:
        address: that `ray.init` reads from RAY_ADDRESS.
        **options: of `ray.init`.

    Raises:
        UserError: none answers, or it takes no client like this one.
    """
    with _in_a_line(f"RAY_ADDRESS {address}: this cluster can't be joined", ""):
        ray.init(**options)


def _start(**options: Any) -> None:
    """Ray of this process, on this machine alone.

    Args:
        **options: of `ray.init`.

    Raises:
        UserError: it doesn't start.
    """
    # else Ray takes this machine's own address in place of loopback, here and in workers
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", str(START_S))
    load = f"(load {os.getloadavg()[0]:.0f} on {len(os.sched_getaffinity(0))} cores)"
    advice = (
        f"; if this machine is busy {load}, try again when it is less so; "
        f"Ray's logs are in {get_default_ray_temp_dir()}/session_latest/logs"
    )
    with _in_a_line("Ray didn't start on this machine", advice), interrupts.held(), _patience():
        ray.init(address="local", _node_ip_address="127.0.0.1", include_dashboard=False, **options)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Until its own raylet has answered or ended, or `START_S` are over, Ray waits for it.

    By itself it gives up after 30 s, which are written in its code.
    """
    ask: Callable[..., Any] = services.get_node

    def asked(*args: Any) -> Any:
        end = time.monotonic() + START_S
        while True:
            try:
                return ask(*args)
            except RuntimeError:
                if time.monotonic() > end or not _raylet_lives():
                    raise
            time.sleep(0.2)

    services.get_node = asked
    try:
        yield
    finally:
        services.get_node = ask


def _raylet_lives() -> bool:
    """Whether this process has one."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process().children()
        return any(c.name() == "raylet" and c.status() != psutil.STATUS_ZOMBIE for c in children)
    return True


@contextlib.contextmanager
def _in_a_line(what: str, advice: str) -> Iterator[None]:
    """What Ray raises, as an error for people: it has many types for what people can mend."""
    try:
        yield
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{what}: {why.split('. ')[0][:300].rstrip('.')}{advice}") from error

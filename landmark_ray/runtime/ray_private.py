"""All that this product uses of Ray beyond its public interface; lint forbids it anywhere else.

Each has the reason, and was checked with Ray 2.60.0, for which pyproject.toml caps Ray. When Ray is
upgraded, read this file first: what Ray offers publicly by then goes from here.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private import ray_constants, services

if TYPE_CHECKING:
    from ray.serve.config import HTTPOptions

RAYLET_WAIT = "RAY_gcs_server_port_wait_time_s"
"""Ray 2.60: the seconds that the raylet waits for the GCS; no option sets them."""

CORE_LOG_LEVEL = "RAY_BACKEND_LOG_LEVEL"
"""Ray 2.60: what Ray's C++ core prints; `ray.init` has no option for the core of its process."""

WORKERS_STARTING = "RAY_worker_maximum_startup_concurrency"
"""Ray 2.60: workers that may start at once, the number of cores by default.

Of Ray Train's five workers, four need no core: on a small machine Ray would warn on the screen that
three times as many processes run as may start.
"""

PROXY_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Ray 2.60: names the middlewares of Serve's proxy, which Serve has no option for."""

SERVICE_SETTINGS = {
    "RAY_worker_niceness": "0",  # 15 by default, and a service should not wait for other programs
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",  # a request reaches a replica 2 to 6 ms sooner
}
"""Ray 2.60: environment that shortens a request's way; Serve has options for none of it."""


def plain_tune_output() -> None:
    """Ray 2.60: Ray Tune's new output prints whatever `verbose` is; the old one obeys it."""
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"


def logs_folder() -> str:
    """Ray 2.60: where the logs of the last session are, also when Ray did not start."""
    folder = get_default_ray_temp_dir()
    return f"{folder}/session_latest/logs"


def init_on_loopback(metrics_port: int | None = None, **options: Any) -> None:
    """Start Ray on this machine, at 127.0.0.1 alone.

    Ray 2.60: it takes the machine's own address, here and in workers, unless clusters are disabled,
    and it has no public option for the address or the port of its metrics.

    Args:
        metrics_port: Where Prometheus finds metrics; any free port when None.
        **options: Of `ray.init`.
    """
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    os.environ.setdefault(WORKERS_STARTING, str(max(os.cpu_count() or 1, 8)))
    if metrics_port is not None:
        options["_metrics_export_port"] = metrics_port
    ray.init(address="local", _node_ip_address="127.0.0.1", include_dashboard=False, **options)


@contextlib.contextmanager
def longer_start_timeout(seconds: float, raylet_lives: Callable[[], bool]) -> Iterator[None]:
    """Let `ray.init` wait longer for its own processes, while the context lasts.

    Ray 2.60: it gives up on a raylet after 30 s, which are written in its code.

    Args:
        seconds: That each of Ray's own processes may take.
        raylet_lives: Whether waiting for the raylet makes sense.
    """
    os.environ.setdefault(RAYLET_WAIT, str(seconds))
    get_node: Callable[..., Any] = services.get_node
    core = contextlib.ExitStack()

    def get_node_with_retries(*args: Any) -> Any:
        end = time.monotonic() + seconds
        while True:
            try:
                node = get_node(*args)
                core.enter_context(quiet_core())  # all that is left to start
                return node
            except RuntimeError:
                if time.monotonic() > end or not raylet_lives():
                    raise
            time.sleep(0.2)

    services.get_node = get_node_with_retries
    try:
        yield
    finally:
        services.get_node = get_node
        core.close()


@contextlib.contextmanager
def quiet_core() -> Iterator[None]:
    """Let Ray's C++ core of this process print nothing, if it starts in this context.

    Ray 2.60: it prints an error when Ray Data keeps the arguments of its actors in the object
    store, as Ray Data always does (ray-project/ray#53727). What goes wrong is raised, too. While it
    starts, it would print that it is to be quiet.
    """
    if CORE_LOG_LEVEL in os.environ:
        yield
        return
    os.environ[CORE_LOG_LEVEL] = "fatal"
    sys.stderr.flush()
    screen = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        del os.environ[CORE_LOG_LEVEL]


def is_worker_death(failure: Exception) -> bool:
    """Whether this is how a TrainingFailedError says that a worker died.

    Ray 2.60: no public class says so.
    """
    from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError  # takes 0.2 s

    return isinstance(failure, WorkerHealthCheckFailedError)


def processes_alive() -> bool:
    """Whether all processes live that `ray.init` started in this one.

    Ray 2.60: publicly one only learns it from a call that hangs.
    """
    return bool(services.remaining_processes_alive())


def serve_http_options() -> "HTTPOptions":
    """Where the cluster's Serve listens; no host where none runs.

    Ray 2.60: `serve.status` does not say it.
    """
    from ray.serve.config import HTTPOptions  # only the extra `serve` installs what it imports
    from ray.serve.context import _get_global_client

    client = (
        _get_global_client(raise_if_no_controller_running=False) if ray.is_initialized() else None
    )
    return client.http_config if client else HTTPOptions(host=None)

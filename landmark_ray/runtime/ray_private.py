"""The private names of Ray that this product uses; lint forbids them anywhere else.

Each use states its reason, and was checked with Ray 2.60.0, which is the newest version that
pyproject.toml allows. When you upgrade Ray, read this file first, and delete what Ray then offers
publicly.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import ray
from ray._common.tls_utils import add_port_to_grpc_server
from ray._common.utils import get_default_ray_temp_dir
from ray._private import ray_constants, services

from landmark_ray.runtime.error_log import silenced

if TYPE_CHECKING:
    from ray.serve.config import HTTPOptions

RAYLET_WAIT = "RAY_gcs_server_port_wait_time_s"
"""Ray 2.60: the seconds that the raylet waits for the GCS; Ray has no option for them."""

CORE_LOG_LEVEL = "RAY_BACKEND_LOG_LEVEL"
"""Ray 2.60: the log level of Ray's C++ core; `ray.init` has no option for its own process."""

WORKERS_STARTING = "RAY_worker_maximum_startup_concurrency"
"""Ray 2.60: the number of workers that may start at once, by default the number of cores.

Four of the five workers of Ray Train need no core. On a small machine, Ray would therefore warn
that many more worker processes run than may start.
"""

LOCAL_SETTINGS = {
    # Ray's log monitor would scan all logs ten times a second, although they aren't sent to drivers
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "3600",
    # a process per training that waits for the cloud to take this machine away
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
"""Ray 2.60: environment variables that save processor time where Ray runs on this machine alone;
`ray.init` has no options for them."""

WAIT_FOR_TASKS_S = 0.02
"""Ray 2.60: the driver of Ray Data looks every 0.1 s which tasks have ended, a constant in its
code. A core would wait up to 0.2 s for its next task: short tasks would take a fifth longer."""

PROXY_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Ray 2.60: names the middlewares of Serve's proxy, which Serve has no option for."""

SERVICE_SETTINGS = {
    "RAY_worker_niceness": "0",  # 15 by default, and a service should not wait for other programs
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",  # a request reaches a replica 2 to 6 ms sooner
}
"""Ray 2.60: environment variables that shorten the path of a request; Serve has no options for
them."""


def plain_tune_output() -> None:
    """Select the old output of Ray Tune.

    Ray 2.60: the new output ignores `verbose`, and the old one obeys it.
    """
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"


def logs_folder() -> str:
    """Return the folder of the logs of the last session, even if Ray did not start.

    Ray 2.60: publicly, only a running Ray names it.
    """
    folder = get_default_ray_temp_dir()
    return f"{folder}/session_latest/logs"


def init_on_loopback(metrics_port: int | None = None, **options: Any) -> None:
    """Start Ray on this machine, at 127.0.0.1 only.

    Ray 2.60: it uses the machine's network address, in this process and in workers, unless clusters
    are disabled, and it has no public option for the address or the port of its metrics.

    Args:
        metrics_port: The port at which Prometheus finds metrics; any free port when None.
        **options: Further arguments of `ray.init`.
    """
    from ray.data._internal.execution import streaming_executor_state  # replicas do without it

    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    os.environ.setdefault(WORKERS_STARTING, str(max(os.cpu_count() or 1, 8)))
    for name, value in LOCAL_SETTINGS.items():
        os.environ.setdefault(name, value)
    streaming_executor_state.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S = WAIT_FOR_TASKS_S
    if metrics_port is not None:
        options["_metrics_export_port"] = metrics_port
    ray.init(address="local", _node_ip_address="127.0.0.1", include_dashboard=False, **options)


def replicas_on_loopback() -> None:
    """Let the replica of Serve in this process listen at 127.0.0.1 only, if Ray does, too.

    Ray 2.60: other replicas send it their requests as pickles by gRPC. It waits for them at all
    addresses of the machine, a constant in its code, so that whoever reaches it can run code here.
    """
    if os.environ.get(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR) == "0":
        from ray.serve._private import replica  # only the extra `serve` installs what it imports

        replica.add_port_to_grpc_server = _at_loopback  # type: ignore[attr-defined]


def _at_loopback(server: Any, address: str) -> int:
    return int(add_port_to_grpc_server(server, address.replace("[::]", "127.0.0.1")))


@contextlib.contextmanager
def longer_start_timeout(seconds: float, raylet_lives: Callable[[], bool]) -> Iterator[None]:
    """Let `ray.init` wait longer for its own processes, in this context.

    Ray 2.60: it gives up on a raylet after 30 s, a constant in its code.

    Args:
        seconds: The seconds that each of Ray's own processes may take.
        raylet_lives: Returns whether the raylet is alive, so that waiting for it makes sense.
    """
    os.environ.setdefault(RAYLET_WAIT, str(seconds))
    get_node: Callable[..., Any] = services.get_node
    core = contextlib.ExitStack()

    def get_node_with_retries(*args: Any) -> Any:
        end = time.monotonic() + seconds
        while True:
            try:
                node = get_node(*args)
                core.enter_context(quiet_core())  # only the core remains to be started
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
    """Silence Ray's C++ core of this process, if it starts in this context.

    Ray 2.60: it prints an error whenever Ray Data keeps the arguments of its actors in the object
    store, which Ray Data always does (ray-project/ray#53727). Real errors are raised as well.
    Stderr is redirected because the core would print that its log level was changed.
    """
    if CORE_LOG_LEVEL in os.environ:
        yield
        return
    os.environ[CORE_LOG_LEVEL] = "fatal"
    try:
        with silenced(2):
            yield
    finally:
        del os.environ[CORE_LOG_LEVEL]


def is_worker_death(failure: Exception) -> bool:
    """Return whether a failure in a TrainingFailedError means that a worker died.

    Ray 2.60: this error has no public class.
    """
    from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError  # takes 0.2 s

    return isinstance(failure, WorkerHealthCheckFailedError)


def processes_alive() -> bool:
    """Return whether all processes that `ray.init` started in this process are alive.

    Ray 2.60: publicly, a dead one shows only in a call that hangs.
    """
    return bool(services.remaining_processes_alive())


def serve_http_options() -> "HTTPOptions":
    """Return where Serve listens on this cluster; the host is None if Serve does not run.

    Ray 2.60: `serve.status` does not return it.
    """
    from ray.serve.config import HTTPOptions  # only the extra `serve` installs what it imports
    from ray.serve.context import _get_global_client

    client = (
        _get_global_client(raise_if_no_controller_running=False) if ray.is_initialized() else None
    )
    return client.http_config if client else HTTPOptions(host=None)

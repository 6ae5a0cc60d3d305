"""Services as processes: started on loopback, awaited, and stopped with all that they started.

Nothing else is contacted, and every wait has an end.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from common import CORES, REPO

HOST = "127.0.0.1"
START_S, STOP_S = 300.0, 60.0
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
UNWANTED = ("RAY_ADDRESS", "LANDMARK_RAY_KEY")


@dataclass(frozen=True)
class Service:
    """One that is ready.

    Attributes:
        process: that was started.
        url: of its root, without a slash at the end.
        start_s: seconds until it was ready.
    """

    process: psutil.Popen
    url: str
    start_s: float

    def held(self) -> float:
        """GB that it and its children hold together: the sum of their PSS."""
        total = 0
        for process in [self.process, *self.process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return total / 1e9


def flask_command(bundle: Path, port: int) -> list[str]:
    """The reference's app: one worker."""
    server = [sys.executable, "-m", "gunicorn", "--workers", "1", "--worker-class", "sync"]
    place = ["--chdir", str(REPO / "bench"), "--bind", f"{HOST}:{port}", "--no-control-socket"]
    return [*server, *place, "--timeout", "300", f"flask_app:create_app({str(bundle)!r})"]


def our_command(bundle: Path, port: int, precision: str, *more: str) -> list[str]:
    """Our service."""
    options = {
        "--bundle": bundle,
        "--host": HOST,
        "--port": port,
        "--metrics_port": free_port(),
        "--runtime": "openvino",
        "--precision": precision,
        "--cluster.cpus": CORES,
    }
    words = [str(word) for option in options.items() for word in option] + list(more)
    return [sys.executable, str(REPO / "jobs/serve.py"), *words]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int, folder: Path) -> Iterator[Service]:
    """A service from when it is ready; at the end it is stopped, with all its processes.

    Args:
        command: that starts it.
        port: where it listens, and answers GET /readyz.
        folder: for its log and what it caches.

    Raises:
        RuntimeError: it doesn't become ready; with its last words.
    """
    environment = {k: v for k, v in os.environ.items() if k not in UNWANTED} | ENVIRONMENT
    environment["XDG_CACHE_HOME"] = str(folder / "cache")
    url = f"http://{HOST}:{port}"
    begun = time.monotonic()
    with (folder / f"service-{port}.log").open("w+") as log:
        process = psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            while not answers(f"{url}/readyz"):
                if process.poll() is not None or time.monotonic() > begun + START_S:
                    log.seek(0)
                    raise RuntimeError(f"{command} isn't ready: {log.read()[-2000:]}")
                time.sleep(0.1)
            yield Service(process, url, time.monotonic() - begun)
        finally:
            stop(process)


def answers(url: str) -> bool:
    """Whether a service answers with status 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def stop(process: psutil.Popen) -> None:
    """Ctrl-C; what is left of its family after a while is killed."""
    family = [process, *process.children(recursive=True)] if process.is_running() else []
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGINT)
    _, left = psutil.wait_procs(family, timeout=STOP_S)
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(left, timeout=STOP_S)

"""A Ray cluster of one node on loopback, with token authentication, as the README starts it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import REPO
from tests.serving import free_port

BIN = Path(sys.executable).parent


@contextlib.contextmanager
def head(env):
    """Address of the job server of a head on free ports of loopback."""
    port, dashboard, agent = free_port(), free_port(), free_port()
    command = [BIN / "ray", "start", "--head", "--block", "--node-ip-address", "127.0.0.1"]
    command += ["--port", str(port), "--dashboard-host", "127.0.0.1"]
    # The agent's own default, 52365, is a port that any outgoing connection may hold; without
    # its agent a head lives on and never runs a job.
    command += ["--dashboard-port", str(dashboard), "--dashboard-agent-listen-port", str(agent)]
    command += ["--num-cpus", "2", "--object-store-memory", "500000000"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield f"http://127.0.0.1:{dashboard}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def runs_jobs(cluster, seconds: float = 90) -> bool:
    """Whether the head runs a job before `seconds` are over: it answers well before it can."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if submit(cluster, "true", timeout=20).returncode == 0:
                return True
        time.sleep(1)
    return False


def submit(cluster, *command: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    address, env = cluster
    words = [BIN / "ray", "job", "submit", "--address", address, "--", *map(str, command)]
    return subprocess.run(words, env=env, cwd=REPO, capture_output=True, text=True, timeout=timeout)

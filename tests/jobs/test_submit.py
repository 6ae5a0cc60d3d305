"""Every stage as a job of a running cluster, with token authentication, on loopback."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from landmark_ray.config import STAGES
from landmark_ray.manifest import Bundle
from tests.conftest import REPO, TRAINING
from tests.tables import TABLES, assert_same_tables

pytestmark = pytest.mark.ray

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """(address of the job server, environment of its clients) of a head started for the test."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    env = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    env.pop("RAY_ADDRESS", None)
    for _ in range(3):  # another program may take a port between our look and Ray's start
        with head(env) as address:
            if runs_jobs((address, env)):
                yield address, env
                return
    pytest.fail("no head that runs jobs in three attempts: see the logs in /tmp/ray")


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


def test_every_stage_runs_as_a_submitted_job(cluster, small_source, small_root, tmp_path):
    source = ("--source", small_source.path, "--root", tmp_path, *small_source.options)
    for stage in STAGES:
        options = () if stage in STAGES[: STAGES.index("resize")] else TRAINING
        done = submit(cluster, sys.executable, f"jobs/{stage}.py", *source, *options)
        assert done.returncode == 0, done.stdout + done.stderr
    same = [table for table in TABLES if table not in ("examples", "background")]  # other pixels
    assert_same_tables(tmp_path, small_root, same)
    assert Bundle(str(tmp_path / "bundle")).manifest.groups == [1, 2]


def test_job_of_somebody_without_the_token_is_refused(cluster):
    address, env = cluster
    stranger = {k: v for k, v in env.items() if not k.startswith("RAY_AUTH")}
    done = submit((address, stranger), sys.executable, "-c", "print('in')")
    assert done.returncode != 0
    assert "401" in done.stdout + done.stderr or "uthentication" in done.stdout + done.stderr

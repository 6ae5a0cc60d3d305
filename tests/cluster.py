"""A Ray cluster of a head and two workers on this machine, with token authentication.

As on several machines: by `ray start`, at the machine's own address, since Ray lets no other node
join a head on loopback; dashboard and job server are on loopback, and jobs bring their own code.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.conftest import REPO
from tests.ray_private import node_ip_address_from_perspective, ray_constants
from tests.serving import free_port

BIN = Path(sys.executable).parent
WORKERS = 2
STORE = "500000000"
"""Bytes of a node's object store."""


@dataclass(frozen=True)
class Running:
    """A cluster.

    Attributes:
        address: of its job server.
        gcs: what nodes join, and drivers.
        env: the environment of who has its token.
    """

    address: str
    gcs: str
    env: dict[str, str]

    def submit(
        self,
        *command: object,
        options: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        timeout: float = 300,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command as a job that brings the code of this checkout; by default to its end."""
        words = ("submit", "--working-dir", REPO, *options, "--", *command)
        return self._job(words, env or self.env, timeout)

    def stop(self, submission: str) -> "subprocess.CompletedProcess[str]":
        """Stop a job that has such an id."""
        return self._job(("stop", submission), self.env, 300)

    def applications(self, method: str = "GET") -> str:
        """Return what the cluster knows of its Serve applications, as JSON; DELETE ends Serve."""
        token = Path(self.env["RAY_AUTH_TOKEN_PATH"]).read_text()
        headers, url = (
            {"Authorization": f"Bearer {token}"},
            f"{self.address}/api/serve/applications/",
        )
        return httpx.request(method, url, headers=headers, timeout=300).raise_for_status().text

    def _job(
        self, words: tuple[object, ...], env: dict[str, str], timeout: float
    ) -> "subprocess.CompletedProcess[str]":
        command = [BIN / "ray", "job", words[0], "--address", self.address, *words[1:]]
        try:
            return subprocess.run(
                [str(word) for word in command],
                env=env,
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as late:
            print("said until then:", late.stdout, late.stderr)
            raise

    def refuses_strangers(self) -> bool:
        """Whether a job of somebody without the token is refused."""
        stranger = {k: v for k, v in self.env.items() if not k.startswith("RAY_AUTH")}
        done = self.submit("echo", "in", env=stranger)
        said = done.stdout + done.stderr
        return done.returncode != 0 and ("401" in said or "uthentication" in said)

    def ready(self, seconds: float = 240) -> bool:
        """Whether it runs a job, with all its workers, before `seconds` are over.

        A head answers well before it can.
        """
        count = "import ray; ray.init(); assert ray.cluster_resources().get('CPU') == "
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(subprocess.TimeoutExpired):
                job = self.submit(sys.executable, "-c", count + str(WORKERS), timeout=80)
                if job.returncode == 0:
                    return True
                print(job.stdout, job.stderr)
            time.sleep(1)
        return False


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Running]:
    """A head without cores and `WORKERS` nodes of one core, until the context ends.

    Args:
        folder: for the token.
    """
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    env = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    # a Ray of the tests' own sets them
    for name in ("RAY_ADDRESS", ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR):
        env.pop(name, None)
    for attempt in range(3):  # another program may take a port between our look and Ray's start
        with contextlib.ExitStack() as stack:
            cluster = _started(stack, env, folder / f"nodes-{attempt}")
            if cluster and cluster.ready():
                yield cluster
                return
    logs = [f"{log}: {log.read_text()[-500:]}" for log in sorted(folder.glob("*/*.log"))]
    raise AssertionError("\n".join(["no cluster that runs jobs in three attempts", *logs]))


def _started(stack: contextlib.ExitStack, env: dict[str, str], logs: Path) -> Running | None:
    """A head and then its workers, one by one: two that start at once get in each other's way."""
    logs.mkdir()
    port, dashboard = free_port(), free_port()
    gcs = f"{node_ip_address_from_perspective()}:{port}"
    cluster = Running(f"http://127.0.0.1:{dashboard}", gcs, env)
    head = ["--head", "--port", str(port), "--num-cpus", "0"]
    head += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard)]
    worker = ["--address", cluster.gcs, "--num-cpus", "1"]
    nodes = [head, *[worker] * WORKERS]
    up = all(_start(stack, env, logs / f"{i}.log", options) for i, options in enumerate(nodes))
    return cluster if up else None


def _start(stack: contextlib.ExitStack, env: dict[str, str], log: Path, options: list[str]) -> bool:
    """A node, which ends with the stack; whether it came up."""
    # The agent's own default, 52365, is a port that any outgoing connection may hold; without
    # its agent a head lives on and never runs a job.
    command = [BIN / "ray", "start", "--block", *options]
    command += ["--dashboard-agent-listen-port", str(free_port())]
    command += ["--min-worker-port", "0", "--max-worker-port", "0", "--object-store-memory", STORE]
    with log.open("w") as out:
        node = subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)
    stack.callback(_stop, node)
    for _ in range(300):
        if node.poll() is not None or "Ray runtime started" in log.read_text():
            break
        time.sleep(0.2)
    return node.poll() is None


def _stop(node: "subprocess.Popen[bytes]") -> None:
    node.terminate()
    try:
        node.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(node.pid, signal.SIGKILL)

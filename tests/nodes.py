"""A Ray cluster of several nodes on loopback, one of which can be killed at any moment."""

import contextlib
import os
import signal
from collections.abc import Iterator
from unittest import mock

import psutil
from ray.cluster_utils import Cluster

from tests.holds import Holds
from tests.ray_private import ray_constants
from tests.serving import free_port

STORE = 150_000_000
"""Bytes of a node's object store."""


class Nodes:
    """A head, and one other node of a core, the victim.

    Args:
        head_cpus: cores of the head.
        holds: which workers of the victim are held.
    """

    def __init__(self, head_cpus: int = 1, holds: Holds | None = None) -> None:
        self.holds = holds
        head = self._node(head_cpus, takes=False)
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.victim = self.cluster.add_node(**self._node())

    def _node(self, cpus: int = 1, takes: bool = True) -> dict[str, object]:
        return {
            "num_cpus": cpus,
            "env_vars": self.holds.env(takes) if self.holds else None,
            "node_ip_address": "127.0.0.1",
            "object_store_memory": STORE,
            "include_dashboard": False,
            "dashboard_agent_listen_port": free_port(),
        }

    @property
    def env(self) -> dict[str, str]:
        """The environment of a driver."""
        return os.environ | {"RAY_ADDRESS": self.cluster.address, "RAY_USAGE_STATS_ENABLED": "0"}

    def busy(self, names: tuple[str, ...]) -> list[psutil.Process]:
        """The victim's processes that run tasks of such names."""
        found = []
        raylet = self.victim.all_processes["raylet"][0].process.pid
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(raylet).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    title = process.name() + " ".join(process.cmdline())
                    if any(name in title for name in names):
                        found.append(process)
        return found

    def lose(self) -> None:
        """Kill the victim with all that runs on it, as a power cut does; put another in place."""
        workers = self.busy(("ray::",))
        self.cluster.remove_node(self.victim, allow_graceful=False)
        for process in workers:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        self.victim = self.cluster.add_node(**self._node())


@contextlib.contextmanager
def nodes(head_cpus: int = 1, holds: Holds | None = None) -> Iterator[Nodes]:
    """A cluster of `Nodes` that goes at the end."""
    # else Ray takes this machine's own address in place of loopback
    with (
        mock.patch.object(ray_constants, "ENABLE_RAY_CLUSTER", False),
        mock.patch.dict(os.environ, {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}),
    ):
        running = Nodes(head_cpus, holds)
        try:
            yield running
        finally:
            running.cluster.shutdown()

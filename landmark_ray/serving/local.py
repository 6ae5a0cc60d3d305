"""Calls of the service's parts: deployments of Serve, or objects in the process of the ingress."""

from types import SimpleNamespace
from typing import Any

from ray.exceptions import RayActorError

from landmark_ray.serving.versions import Versions


class LocalHandle:
    """Stands for the handle of a deployment, and holds its replica in the same process."""

    def __init__(self, replica: Versions[Any]) -> None:
        """Take the replica."""
        self.replica = replica

    def __getattr__(self, name: str) -> SimpleNamespace:
        """Return a method of the replica, called with `remote` as one of a Serve handle is."""
        return SimpleNamespace(remote=getattr(self.replica, name))


async def ask(method: Any, *args: Any) -> Any:
    """Ask a shard; when a replica dies over the request, ask another one."""
    try:
        return await method.remote(*args)
    except RayActorError:
        return await method.remote(*args)

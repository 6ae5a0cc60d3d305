"""Calls of the service's parts: deployments of Serve, or objects in the process of the ingress."""

from collections.abc import Awaitable, Callable
from typing import Any

from ray.exceptions import RayActorError

from landmark_ray.serving.versions import Versions


class LocalMethod:
    """A method of a local object, called with `remote` as a method of a Serve handle is."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        """Wrap a method."""
        self.remote = method


class LocalHandle:
    """Stands for the handle of a deployment, and holds its replica in the same process."""

    def __init__(self, replica: Versions[Any]) -> None:
        """Take the replica."""
        self.replica = replica

    def __getattr__(self, name: str) -> LocalMethod:
        """Return a method of the replica."""
        return LocalMethod(getattr(self.replica, name))


async def ask(method: Any, *args: Any) -> Any:
    """Ask a shard; when a replica dies over the request, ask another one."""
    try:
        return await method.remote(*args)
    except RayActorError:
        return await method.remote(*args)

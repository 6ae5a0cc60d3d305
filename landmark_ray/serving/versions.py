"""Deployments whose replicas hold the newest version of a bundle, and for a while the last one."""

import asyncio
from typing import Generic, TypeVar

from landmark_ray.runtime.ray_private import replicas_on_loopback

DRAIN_TIMEOUT_S = 60.0
"""How long a replica keeps the version before: ingresses may still ask for it, in seconds."""

T = TypeVar("T")


class Versions(Generic[T]):
    """What a replica loaded of each version of the bundle that `user_config` names.

    When `user_config` changes, the new bundle is loaded beside the old one, which goes on serving:
    no request waits or fails.
    """

    def __init__(self) -> None:
        """Start without any version."""
        replicas_on_loopback()
        self.loaded: dict[str, T] = {}
        self.uris: dict[str, str] = {}

    def load(self, uri: str) -> tuple[str, T]:
        """Load a bundle; return its version, and what answers for it."""
        raise NotImplementedError

    async def reconfigure(self, config: dict[str, str]) -> None:
        """Load a bundle; the version that served until now is dropped after `DRAIN_TIMEOUT_S`.

        Raises:
            UserError: There is no bundle, or it is damaged.
        """
        version, part = await asyncio.to_thread(self.load, config["bundle"])
        older = {v: p for v, p in self.loaded.items() if v != version}
        self.loaded = {**older, version: part}
        self.uris[version] = config["bundle"]
        if older:
            asyncio.get_running_loop().call_later(DRAIN_TIMEOUT_S, self._drop, list(older))

    def _drop(self, versions: list[str]) -> None:
        newest = list(self.loaded)[-1]
        for version in versions:
            if version != newest:
                self.loaded.pop(version, None)

    async def versions(self) -> dict[str, str]:
        """Return the loaded versions and the URIs of their bundles, the newest last."""
        return {version: self.uris[version] for version in self.loaded}

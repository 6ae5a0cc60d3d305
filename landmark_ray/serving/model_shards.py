"""The model shards: Serve deployments that each hold some of the group models."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.util.metrics import Histogram

from landmark_ray.bundle.manifest import Bundle
from landmark_ray.kernels.topk import TopK
from landmark_ray.serving.batching import Batcher
from landmark_ray.serving.inference import ShardNetworks
from landmark_ray.serving.serve_options import GraphOptions

DRAIN_TIMEOUT_S = 60.0
"""How long a replica keeps the version before: ingresses may still ask for it, in seconds."""

Photo = NDArray[np.uint8]
"""A photo as the models take it: [H, W, 3], RGB."""


class ModelShard:
    """A shard of the group models of the bundle that `user_config` names.

    When `user_config` changes, the new bundle is loaded beside the old one, which goes on serving:
    no request waits or fails.
    """

    def __init__(self, shard: int, options: dict[str, Any]) -> None:
        """Take the shard's number, from 0, and the fields of `GraphOptions`."""
        self.shard, self.options = shard, GraphOptions(**options)
        self.networks: dict[str, ShardNetworks] = {}
        self.uris: dict[str, str] = {}
        self.batch_sizes = Histogram(
            "landmark_batch_size",
            "Number of photos in a batch.",
            boundaries=[1, 2, 4, 8, 16, 32, 64],
            tag_keys=("pack",),
        )
        self._batcher = Batcher(self._compute, self.options.used_batch)

    async def reconfigure(self, config: dict[str, str]) -> None:
        """Load a bundle; the version that served until now is dropped after `DRAIN_TIMEOUT_S`.

        Raises:
            UserError: There is no bundle, or it is damaged.
        """
        version, networks = await asyncio.to_thread(self._load, config["bundle"])
        older = {v: n for v, n in self.networks.items() if v != version}
        self.networks = {**older, version: networks}
        self.uris[version] = config["bundle"]
        if older:
            asyncio.get_running_loop().call_later(DRAIN_TIMEOUT_S, self._drop, list(older))

    def _load(self, uri: str) -> tuple[str, ShardNetworks]:
        bundle = Bundle(uri)
        version = bundle.manifest.version
        networks = self.networks.get(version)
        if networks is None:
            networks = ShardNetworks(bundle, self.shard, self.options)
            for count in (1, self.options.used_batch):  # warm up, or the first requests would wait
                networks.top_k(np.zeros((count, *2 * [bundle.manifest.size], 3), np.uint8))
        return version, networks

    def _drop(self, versions: list[str]) -> None:
        newest = list(self.networks)[-1]
        for version in versions:
            if version != newest:
                self.networks.pop(version, None)

    async def versions(self) -> dict[str, str]:
        """Return the loaded versions and the URIs of their bundles, the newest last."""
        return {version: self.uris[version] for version in self.networks}

    async def top_k(self, version: str, photo: Photo) -> TopK | None:
        """Return landmark ids [k] and confidences [k]; None where the version isn't loaded."""
        networks = self.networks.get(version)
        return await self._batcher((networks, photo)) if networks else None

    def _compute(self, requests: Sequence[tuple[ShardNetworks, Photo]]) -> list[TopK]:
        """Compute a batch; each request names the networks of its own version."""
        self.batch_sizes.observe(len(requests), tags={"pack": str(self.shard)})
        results: dict[int, TopK] = {}
        for networks in {n for n, _ in requests}:
            numbers = [i for i, (n, _) in enumerate(requests) if n is networks]
            landmarks, confidences = networks.top_k(np.stack([requests[i][1] for i in numbers]))
            results |= {i: (landmarks[j], confidences[j]) for j, i in enumerate(numbers)}
        return [results[i] for i in range(len(requests))]


class LocalMethod:
    """A method of a local object, called with `remote` as a method of a Serve handle is."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        """Wrap a method."""
        self.remote = method


class LocalShardHandle:
    """Stands for the handle of a model shard, and holds the shard in the same process."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Create the shard, with all models, from the fields of `GraphOptions`."""
        self.shard = ModelShard(0, options)
        self.top_k, self.versions = LocalMethod(self.shard.top_k), LocalMethod(self.shard.versions)

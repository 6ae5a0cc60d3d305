"""The model shards: Serve deployments that each hold some of the group models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.util.metrics import Histogram

from landmark_ray.bundle.exemplar_files import FOLDER
from landmark_ray.bundle.landmark_index import INDEX
from landmark_ray.bundle.manifest import Bundle
from landmark_ray.kernels.topk import TopK
from landmark_ray.serving.batching import Batcher
from landmark_ray.serving.inference import ShardNetworks
from landmark_ray.serving.serve_options import GraphOptions
from landmark_ray.serving.versions import Versions

Photo = NDArray[np.uint8]
"""A photo as the models take it: [H, W, 3], RGB."""

ShardAnswer = tuple[TopK, NDArray[np.float32] | None]
"""Landmark ids [k] and confidences [k] of a photo, and its vector [D] for the index, if the shard
has its trunk."""


class ModelShard(Versions[ShardNetworks]):
    """A shard of the group models of the bundle that `user_config` names."""

    def __init__(self, shard: int, options: dict[str, Any]) -> None:
        """Take the shard's number, from 0, and the fields of `GraphOptions`."""
        super().__init__()
        self.shard, self.options = shard, GraphOptions(**options)
        self.batch_sizes = Histogram(
            "landmark_batch_size",
            "Number of photos in a batch.",
            boundaries=[1, 2, 4, 8, 16, 32, 64],
            tag_keys=("pack",),
        )
        self._batcher = Batcher(self._compute, self.options.used_batch)

    def load(self, uri: str) -> tuple[str, ShardNetworks]:
        """Load the shard's networks of a bundle.

        Raises:
            UserError: There is no bundle, or it is damaged.
        """
        bundle = Bundle(uri, read=lambda name: not name.startswith((f"{INDEX}/", f"{FOLDER}/")))
        version = bundle.manifest.version
        networks = self.loaded.get(version)
        if networks is None:
            networks = ShardNetworks(bundle, self.shard, self.options)
            for count in (1, self.options.used_batch):  # warm up, or the first requests would wait
                networks.answer(np.zeros((count, *2 * [bundle.manifest.size], 3), np.uint8))
        return version, networks

    async def answer(self, version: str, photo: Photo) -> ShardAnswer | None:
        """Recognise a photo; return None where the version isn't loaded."""
        networks = self.loaded.get(version)
        return await self._batcher((networks, photo)) if networks else None

    def _compute(self, requests: Sequence[tuple[ShardNetworks, Photo]]) -> list[ShardAnswer]:
        """Compute a batch; each request names the networks of its own version."""
        self.batch_sizes.observe(len(requests), tags={"pack": str(self.shard)})
        results: dict[int, ShardAnswer] = {}
        for networks in {n for n, _ in requests}:
            numbers = [i for i, (n, _) in enumerate(requests) if n is networks]
            (ids, confidences), vectors = networks.answer(
                np.stack([requests[i][1] for i in numbers])
            )
            for j, i in enumerate(numbers):
                vector = None if vectors is None else vectors[j]
                results[i] = (ids[j], confidences[j]), vector
        return [results[i] for i in range(len(requests))]

"""The index shards: Serve deployments that each hold the photos of some of the landmarks."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmark_ray.bundle.exemplar_files import FOLDER
from landmark_ray.bundle.landmark_index import LandmarkIndex, index_info
from landmark_ray.bundle.manifest import Bundle
from landmark_ray.bundle.network_files import GROUPS
from landmark_ray.kernels.findings import Findings
from landmark_ray.kernels.topk import TopK
from landmark_ray.serving.batching import Batcher
from landmark_ray.serving.serve_options import GraphOptions
from landmark_ray.serving.versions import Versions

Query = tuple[LandmarkIndex, NDArray[np.float32], TopK]


class IndexShard(Versions[LandmarkIndex | None]):
    """A shard of the index of the bundle that `user_config` names; a bundle may have none."""

    def __init__(self, shard: int, options: dict[str, Any]) -> None:
        """Take the shard's number, from 0, and the fields of `GraphOptions`."""
        super().__init__()
        self.shard, self.options = shard, GraphOptions(**options)
        self._batcher = Batcher(self._compute, self.options.used_batch)

    def load(self, uri: str) -> tuple[str, LandmarkIndex | None]:
        """Load the shard's part of the index of a bundle.

        Raises:
            UserError: There is no bundle, or its index is damaged or of another trunk.
        """
        bundle = Bundle(uri, read=lambda name: not name.startswith((f"{GROUPS}/", f"{FOLDER}/")))
        version = bundle.manifest.version
        if version in self.loaded:
            return version, self.loaded[version]
        if index_info(bundle) is None:
            return version, None
        return version, LandmarkIndex(bundle, self.shard, self.options.index_shards)

    async def find(self, version: str, vector: NDArray[np.float32], heads: TopK) -> Findings | None:
        """Return what this shard finds for a photo; None where the version isn't loaded.

        Args:
            version: Version of the bundle.
            vector: [D] of the photo.
            heads: Landmark ids [k] and confidences [k] of the heads.
        """
        index = self.loaded.get(version)
        return await self._batcher((index, vector, heads)) if index else None

    async def similarities(
        self, version: str, vector: NDArray[np.float32], landmark: int
    ) -> dict[str, float] | None:
        """Return how similar a photo is to this shard's photos of a landmark.

        Args:
            version: Version of the bundle.
            vector: [D] of the photo.
            landmark: The landmark.

        Returns:
            Image id -> cosine; None where the version isn't loaded, or has no index.
        """
        index = self.loaded.get(version)
        return await asyncio.to_thread(index.similarities, vector, landmark) if index else None

    def _compute(self, queries: Sequence[Query]) -> list[Findings]:
        """Search for photos one by one, since products of a batch would be rounded differently.

        A search in a batch is no faster.
        """
        return [
            index.find(vector[None], (ids[None], confidences[None]))
            for index, vector, (ids, confidences) in queries
        ]

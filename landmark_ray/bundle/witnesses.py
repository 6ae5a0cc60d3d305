"""What answers for a photo: the heads of all groups, the index of photos, and their fusion."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from landmark_ray.bundle.ensemble import Answer, Ensemble, Vectors
from landmark_ray.bundle.landmark_index import LandmarkIndex, index_info, read_fusion
from landmark_ray.bundle.network_files import GROUPS
from landmark_ray.config.base import Witness
from landmark_ray.data.store import Store
from landmark_ray.kernels.fusion import Candidates

HEADS = 20
"""Number of landmarks that the heads name as candidates."""


class Witnesses:
    """The heads of a folder and its index; a folder without an index has heads only."""

    def __init__(self, folder: Store, subfolder: str = GROUPS, use: Witness = "fused") -> None:
        """Load the networks and the index.

        Raises:
            UserError: Networks or index are missing or damaged.
        """
        self.ensemble = Ensemble(folder, subfolder)
        has_index = use == "fused" and index_info(folder) is not None
        self.index = LandmarkIndex(folder) if has_index else None
        self.fusion = read_fusion(folder) if has_index else None

    def vectors(self, photos: NDArray[np.uint8]) -> Vectors:
        """Compute the vectors of photos [N, H, W, 3] that heads and index need."""
        vectors = self.ensemble.vectors(photos)
        if self.index and self.index.info.trunk not in vectors:
            vectors |= self.ensemble.vectors(photos, [self.index.info.trunk])
        return vectors

    def candidates(self, vectors: Vectors, without: Sequence[str] | None = None) -> Candidates:
        """Return the candidates for photos, from their vectors; see `LandmarkIndex.candidates`.

        Raises:
            ValueError: There is no index.
        """
        if self.index is None:
            raise ValueError("candidates need an index")
        heads = self.ensemble.answer(vectors, HEADS)
        return self.index.candidates(vectors[self.index.info.trunk], heads, without)

    def predict(self, photos: NDArray[np.uint8], k: int) -> Answer:
        """Return the k landmarks of highest confidence for photos [N, H, W, 3], RGB."""
        vectors = self.vectors(photos)
        if self.fusion is None:
            return self.ensemble.answer(vectors, k)
        return self.fusion.top_k(self.candidates(vectors), k)

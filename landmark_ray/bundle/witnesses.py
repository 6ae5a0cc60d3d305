"""What answers for a photo: the heads of all groups, index, exemplars, and their fusion."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from landmark_ray.bundle.ensemble import Answer, Ensemble, Vectors
from landmark_ray.bundle.exemplar_files import exemplar_info
from landmark_ray.bundle.exemplars import Exemplars
from landmark_ray.bundle.landmark_index import LandmarkIndex, index_info, read_fusion
from landmark_ray.bundle.network_files import GROUPS
from landmark_ray.config.base import Verify, Witness
from landmark_ray.data.store import Store
from landmark_ray.kernels.fusion import Candidates, for_photos
from landmark_ray.kernels.image import Limits

HEADS = 20
"""Number of landmarks that the heads name as candidates."""


class Witnesses:
    """The heads of a folder, its index and its exemplars, of which an older folder has only heads.

    Attributes:
        ensemble: The heads.
        index: The index, or None.
        exemplars: The exemplars, or None.
        fusion: Makes one confidence of what they say; None in a root's `models`, and without an
            index.
    """

    def __init__(
        self,
        folder: Store,
        subfolder: str = GROUPS,
        use: Witness = "fused",
        verify: Verify = "doubtful",
        threads: int | None = None,
    ) -> None:
        """Load the networks, the index and the exemplars.

        Args:
            folder: The folder.
            subfolder: Subfolder of the heads.
            use: Whether heads and index answer, or heads alone.
            verify: Which photos exemplars are asked about.
            threads: Threads that compute local features; as many as the runtime likes when None.

        Raises:
            UserError: Networks, index or exemplars are missing or damaged.
        """
        self.ensemble = Ensemble(folder, subfolder)
        has_index = use == "fused" and index_info(folder) is not None
        self.index = LandmarkIndex(folder) if has_index else None
        fusion = read_fusion(folder) if has_index else None
        self.fusion = for_photos(fusion, verify) if fusion else None
        asks = has_index and verify != "off" and exemplar_info(folder) is not None
        self.exemplars = Exemplars(folder, threads) if asks else None

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

    def predict(
        self,
        photos: NDArray[np.uint8],
        k: int,
        files: Sequence[bytes] = (),
        limits: Limits | None = None,
    ) -> Answer:
        """Return the k landmarks of highest confidence for photos.

        Args:
            photos: [N, H, W, 3] RGB, as the models take them.
            k: Number of landmarks.
            files: [N] their files, of which exemplars see more; without them, exemplars are not
                asked.
            limits: Limits of the photos that are accepted.
        """
        vectors = self.vectors(photos)
        if self.fusion is None:
            return self.ensemble.answer(vectors, k)
        found = self.candidates(vectors)
        if self.exemplars is not None and files:
            doubtful = self.fusion.is_doubtful(self.fusion(found)).tolist()
            features = [
                self.exemplars.features_of(file, limits) if ask else None
                for file, ask in zip(files, doubtful, strict=True)
            ]
            found = self.exemplars.verified(found, features)
        return self.fusion.top_k(found, k)

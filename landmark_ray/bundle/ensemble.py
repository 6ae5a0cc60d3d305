"""The group models of a folder as one model: photos in, the landmarks of highest confidence out."""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from landmark_ray.bundle.network_files import GROUPS, HeadInfo, head_infos, read_head, read_trunk
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.topk import GroupAnswer, top_k
from landmark_ray.models.embedding import Embedder

Vectors = dict[str, NDArray[np.float32]]
"""Name of a trunk -> its vectors [N, D] of the same N photos."""

Answer = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Landmark ids and confidences [N, k], the highest confidence first."""


class Ensemble:
    """The networks of a folder that `network_files` describes; a shared trunk is run once.

    Raises:
        UserError: A network is missing or damaged.
    """

    def __init__(self, folder: Store, subfolder: str = GROUPS) -> None:
        """Load the heads of a subfolder; trunks are loaded when they are first needed."""
        self.infos: list[HeadInfo] = head_infos(folder, subfolder)
        if not self.infos:
            raise UserError(
                f"{folder.uri}/{subfolder} holds no group's model: run jobs/train.py first"
            )
        self._folder = folder
        self._heads = [read_head(folder, subfolder, info) for info in self.infos]
        self._trunks: dict[str, Embedder] = {}

    @property
    def trunks(self) -> list[str]:
        """The names of all trunks, sorted."""
        return sorted({info.trunk for info in self.infos})

    def trunk(self, name: str) -> keras.Model:
        """Return a trunk, which is loaded by the first call."""
        return self._embedder(name).network

    def _embedder(self, name: str) -> Embedder:
        if name not in self._trunks:
            self._trunks[name] = Embedder(read_trunk(self._folder, name))
        return self._trunks[name]

    @property
    def size(self) -> int:
        """Width and height of the photos that the trunks take, in pixels."""
        return int(self.trunk(self.trunks[0]).input_shape[1])

    def vectors(self, photos: NDArray[np.uint8], trunks: Sequence[str] = ()) -> Vectors:
        """Compute the vectors of photos [N, H, W, 3], RGB, of some trunks; of all by default."""
        return {name: self._embedder(name).embed(photos) for name in trunks or self.trunks}

    def answer(self, vectors: Vectors, k: int) -> Answer:
        """Return the k landmarks of highest confidence for photos, from their vectors."""
        logits = self.logits(vectors)
        answers = [
            GroupAnswer(np.array(i.landmarks, np.int64), logits[i.group], i.temperature)
            for i in self.infos
        ]
        return top_k(answers, k)

    def logits(self, vectors: Vectors) -> dict[int, NDArray[np.float32]]:
        """Compute each group's logits [N, C] of photos, from their vectors."""
        return {
            info.group: keras.ops.convert_to_numpy(head(vectors[info.trunk], training=False))
            for info, head in zip(self.infos, self._heads, strict=True)
        }

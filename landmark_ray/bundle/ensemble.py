"""All group models as one: photos in, the surest landmarks out."""

import keras
import numpy as np
from numpy.typing import NDArray

from landmark_ray.bundle.network_files import GROUPS, HeadInfo, head_infos, read_head, read_trunk
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.topk import GroupAnswer, top_k
from landmark_ray.models.embedding import outputs_of

Vectors = dict[str, NDArray[np.float32]]
"""Vectors [N, D] of the same N photos by each trunk, by its name."""

Answer = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Landmark ids and confidences [N, k], the surest first."""


class Ensemble:
    """The networks of a folder that `bundle` describes. Groups that share a trunk run it once.

    Raises:
        UserError: a network is missing or damaged.
    """

    def __init__(self, folder: Store, place: str = GROUPS) -> None:
        """Load the heads of a place; trunks when they are needed."""
        self.infos: list[HeadInfo] = head_infos(folder, place)
        if not self.infos:
            raise UserError(f"{folder.uri}/{place} holds no group's model: run jobs/train.py first")
        self._folder = folder
        self._heads = [read_head(folder, place, info) for info in self.infos]
        self._trunks: dict[str, keras.Model] = {}

    @property
    def trunks(self) -> list[str]:
        """Their names."""
        return sorted({info.trunk for info in self.infos})

    @property
    def landmarks(self) -> int:
        """How many it knows."""
        return sum(len(info.landmarks) for info in self.infos)

    def trunk(self, name: str) -> keras.Model:
        """A trunk, loaded once."""
        if name not in self._trunks:
            self._trunks[name] = read_trunk(self._folder, name)
        return self._trunks[name]

    @property
    def size(self) -> int:
        """Width and height of the photos it takes, in pixels."""
        return int(self.trunk(self.trunks[0]).input_shape[1])

    def vectors(self, photos: NDArray[np.uint8]) -> Vectors:
        """The vectors of photos [N, H, W, 3], RGB."""
        return {name: outputs_of(self.trunk(name), photos) for name in self.trunks}

    def predict(self, photos: NDArray[np.uint8], k: int) -> Answer:
        """The k surest landmarks of photos [N, H, W, 3]."""
        return self.answer(self.vectors(photos), k)

    def answer(self, vectors: Vectors, k: int) -> Answer:
        """The k surest landmarks of photos, from their vectors."""
        logits = self.logits(vectors)
        answers = [
            GroupAnswer(np.array(i.landmarks, np.int64), logits[i.group], i.temperature)
            for i in self.infos
        ]
        return top_k(answers, k)

    def logits(self, vectors: Vectors) -> dict[int, NDArray[np.float32]]:
        """Group -> logits [N, C] of photos, from their vectors."""
        return {
            info.group: keras.ops.convert_to_numpy(head(vectors[info.trunk], training=False))
            for info, head in zip(self.infos, self._heads, strict=True)
        }

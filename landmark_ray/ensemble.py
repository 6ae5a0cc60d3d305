"""All group models as one: photos in, the surest landmarks out."""

import numpy as np
from numpy.typing import NDArray

from landmark_ray.bundle import HeadInfo, head_infos, read_head, read_trunk
from landmark_ray.errors import UserError
from landmark_ray.kernels.ensemble import GroupAnswer, top_k
from landmark_ray.models.embedding import vectors_of
from landmark_ray.storage import Folder


class Ensemble:
    """The networks of a folder that `bundle` describes. Groups that share a trunk run it once.

    Raises:
        UserError: a network is missing or damaged.
    """

    def __init__(self, folder: Folder) -> None:
        """Load everything."""
        self.infos: list[HeadInfo] = head_infos(folder)
        if not self.infos:
            raise UserError(f"{folder.uri} holds no group's model: run jobs/train.py first")
        self._heads = [read_head(folder, info) for info in self.infos]
        names = sorted({info.trunk for info in self.infos})
        self._trunks = {name: read_trunk(folder, name) for name in names}

    @property
    def landmarks(self) -> int:
        """How many it knows."""
        return sum(len(info.landmarks) for info in self.infos)

    def predict(
        self, photos: NDArray[np.uint8], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The k surest landmarks of photos [N, H, W, 3]: ids and confidences [N, k]."""
        return self.answer({n: vectors_of(t, photos) for n, t in self._trunks.items()}, k)

    def answer(
        self, vectors: dict[str, NDArray[np.float32]], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The same, from vectors [N, D] of each trunk."""
        answers = [
            GroupAnswer(
                np.array(info.landmarks, np.int64),
                np.asarray(head.predict(vectors[info.trunk], 1024, verbose=0)),
                info.temperature,
            )
            for info, head in zip(self.infos, self._heads, strict=True)
        ]
        return top_k(answers, k)

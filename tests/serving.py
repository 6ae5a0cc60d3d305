"""A service without Ray: its HTTP API over models that a test makes up."""

import asyncio
from typing import Any

import numpy as np

from landmark_ray.serving.ingress import Ingress

SURE = {100: 0.75, 201: 0.125, 300: 0.0625}


class Remote:
    """A method of a handle."""

    def __init__(self, function: Any) -> None:
        self.function = function

    async def remote(self, *args: Any) -> Any:
        return await self.function(*args)


class Pack:
    """A handle of models that answer `sure`, for the versions they have, after some seconds."""

    def __init__(self, versions: dict[str, str], sure: dict[int, float] = SURE) -> None:
        self.have, self.sure = versions, sure
        self.seconds = 0.0
        self.errors: list[Exception] = []
        self.asked: list[tuple[str, tuple[int, ...]]] = []
        self.answer, self.versions = Remote(self._answer), Remote(self._versions)

    async def _answer(self, version: str, photo: np.ndarray) -> Any:
        self.asked.append((version, photo.shape))
        await asyncio.sleep(self.seconds)
        if self.errors:
            raise self.errors.pop(0)
        if version not in self.have:
            return None
        return np.array([*self.sure], np.int64), np.array([*self.sure.values()])

    async def _versions(self) -> dict[str, str]:
        return self.have


def ingress(*packs: Any, **options: Any) -> Ingress:
    """An ingress over packs; `start` it before it is asked."""
    from landmark_ray.serving.options import GraphOptions

    return Ingress(GraphOptions(**options).model_dump(), *packs)

"""Group models as Serve deployments: squares in, the surest landmarks of a pack of groups out."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.util.metrics import Histogram

from landmark_ray.bundle.manifest import Bundle
from landmark_ray.kernels.topk import TopK
from landmark_ray.serving.batching import Batcher
from landmark_ray.serving.inference import Networks
from landmark_ray.serving.serve_options import GraphOptions

GRACE_S = 60.0
"""So long a replica answers with the version before, too: the others may still ask for it."""

Photo = NDArray[np.uint8]
"""A square [H, W, 3]."""


class Models:
    """A pack of group models, of the bundle in `user_config`.

    Another bundle there is loaded beside the one that serves: no request waits for it or fails.
    """

    def __init__(self, pack: int, options: dict[str, Any]) -> None:
        """pack: its number, from 0; options: `GraphOptions`."""
        self.pack, self.options = pack, GraphOptions(**options)
        self.loaded: dict[str, Networks] = {}
        self.uris: dict[str, str] = {}
        self.sizes = Histogram(
            "landmark_batch_size",
            "Photos computed at once.",
            boundaries=[1, 2, 4, 8, 16, 32, 64],
            tag_keys=("pack",),
        )
        self._batched = Batcher(self._compute, self.options.used_batch)

    async def reconfigure(self, config: dict[str, str]) -> None:
        """Load a bundle. The version that served until now is let go a while later.

        Raises:
            UserError: there is none, or it is damaged.
        """
        version, networks = await asyncio.to_thread(self._load, config["bundle"])
        before = {v: n for v, n in self.loaded.items() if v != version}
        self.loaded = {**before, version: networks}
        self.uris[version] = config["bundle"]
        if before:
            asyncio.get_running_loop().call_later(GRACE_S, self._let_go, list(before))

    def _load(self, uri: str) -> tuple[str, Networks]:
        bundle = Bundle(uri)
        version = bundle.manifest.version
        networks = self.loaded.get(version)
        if networks is None:
            networks = Networks(bundle, self.pack, self.options)
            for photos in (1, self.options.used_batch):  # what the first ones would wait for
                networks.answer(np.zeros((photos, *2 * [bundle.manifest.size], 3), np.uint8))
        return version, networks

    def _let_go(self, versions: list[str]) -> None:
        newest = list(self.loaded)[-1]
        for version in versions:
            if version != newest:
                self.loaded.pop(version, None)

    async def versions(self) -> dict[str, str]:
        """Version -> URI of the bundles that it can answer with, the newest last."""
        return {version: self.uris[version] for version in self.loaded}

    async def answer(self, version: str, photo: Photo) -> TopK | None:
        """The surest landmarks [k] by a version of the bundle; None where it isn't loaded."""
        networks = self.loaded.get(version)
        return await self._batched((networks, photo)) if networks else None

    def _compute(self, asked: Sequence[tuple[Networks, Photo]]) -> list[TopK]:
        """Each request's answer, by its own version."""
        self.sizes.observe(len(asked), tags={"pack": str(self.pack)})
        found: dict[int, TopK] = {}
        for networks in {n for n, _ in asked}:
            places = [i for i, (n, _) in enumerate(asked) if n is networks]
            landmarks, confidences = networks.answer(np.stack([asked[i][1] for i in places]))
            found |= {i: (landmarks[j], confidences[j]) for j, i in enumerate(places)}
        return [found[i] for i in range(len(asked))]


class Method:
    """A method of an object of this process, called as that of a deployment's handle is."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        """Of the object."""
        self.remote = method


class InProcess:
    """Models in the process that asks them, as a handle: nothing is sent anywhere."""

    def __init__(self, options: dict[str, Any]) -> None:
        """options: `GraphOptions`, with one pack."""
        self.models = Models(0, options)
        self.answer, self.versions = Method(self.models.answer), Method(self.models.versions)

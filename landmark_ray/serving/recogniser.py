"""What recognises a photo: bytes to squares, the model shards' answers merged. No HTTP in here."""

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from landmark_ray.errors import UserError
from landmark_ray.kernels.contentless import without_contentless
from landmark_ray.kernels.metrics import NO_LANDMARK
from landmark_ray.kernels.topk import TopK, merged
from landmark_ray.serving.api_errors import APIError, busy, unready
from landmark_ray.serving.api_models import Candidate, PhotoAnswer
from landmark_ray.serving.bundle_metadata import BundleMetadata
from landmark_ray.serving.decoding import Decoder
from landmark_ray.serving.inference import MAX_TOP_K
from landmark_ray.serving.model_shards import InProcess
from landmark_ray.serving.prometheus import Metrics
from landmark_ray.serving.serve_options import KEY, GraphOptions

ANSWER_S = 60.0
"""A photo has an answer by then, or a 503: its models have been gone for so long."""

PATIENCE_S = 0.1
"""Between two tries, while a new version spreads over the replicas."""


@dataclass(frozen=True)
class Recognition:
    """A photo's answer, by which version, and how long each phase took, in seconds."""

    knowledge: BundleMetadata
    surest: TopK
    decode_s: float
    models_s: float


class Recogniser:
    """Takes requests, decodes photos, asks all packs and merges what they say."""

    def __init__(self, options: dict[str, Any], keyed: bool, *packs: DeploymentHandle) -> None:
        """options: `GraphOptions`; keyed: whether a key is asked for; packs: of `Models`.

        Raises:
            UserError: a key is asked for, and this machine has none.
        """
        self.options = GraphOptions(**options)
        self.own = None if packs else InProcess(options)
        self.packs: Sequence[Any] = packs or [self.own]
        self.key = self.options.key()
        if keyed and not self.key:
            raise UserError(
                f"a node of the cluster has no {KEY}: start its Ray with that variable, or put the "
                "key into --key_file on every node"
            )
        self.decoder = Decoder(self.options.decoders, self.options.decode_seconds)
        self.metrics = Metrics()
        self.known: list[BundleMetadata] = []
        self.waiting = self.uploads = 0
        self.usual_s = 0.1

    async def reconfigure(self, config: dict[str, str]) -> None:
        """Another bundle; that before is still asked for where its replicas aren't ready."""
        if self.own:
            await self.own.models.reconfigure(config)
        new, _ = await asyncio.gather(
            asyncio.to_thread(BundleMetadata, config["bundle"]), self.decoder.start()
        )
        version = new.manifest.version
        self.known = [new, *(k for k in self.known if k.manifest.version != version)][:2]

    @property
    def knowledge(self) -> BundleMetadata:
        """Of the version that is to serve."""
        if not self.known:
            raise unready()
        return self.known[0]

    async def check_ready(self) -> None:
        """Ask every pack for the version that is to serve.

        Raises:
            Refused: one hasn't loaded it, or doesn't answer.
        """
        version = self.knowledge.manifest.version
        try:
            async with asyncio.timeout(2):
                found = await asyncio.gather(*(pack.versions.remote() for pack in self.packs))
        except (TimeoutError, RayActorError):
            raise unready() from None
        if not all(version in versions for versions in found):
            raise unready()

    @contextlib.contextmanager
    def upload(self) -> Iterator[None]:
        """While a body is read: so many are in memory at most.

        Raises:
            Refused: the queue is full.
        """
        self._check_room(self.waiting + self.uploads)
        self.uploads += 1
        try:
            yield
        finally:
            self.uploads -= 1

    def _check_room(self, taken: int) -> None:
        if taken >= self.options.queue:
            raise busy(max(math.ceil(self.usual_s), 1))

    async def recognise(self, data: bytes) -> Recognition:
        """What a photo shows.

        Raises:
            Refused: the photo can't be used, the queue is full, or there are no models.
        """
        self._check_room(self.waiting)
        self.waiting += 1
        begun = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_S):
                seen = await self._recognise(data)
        except (TimeoutError, RayActorError):
            raise unready() from None
        finally:
            self.waiting -= 1
        self.usual_s += 0.05 * (time.monotonic() - begun - self.usual_s)
        self.metrics.phase("decode", seen.decode_s)
        self.metrics.phase("models", seen.models_s)
        return seen

    async def _recognise(self, data: bytes) -> Recognition:
        """By the newest version that all packs have: while one spreads, some lack it."""
        squares: dict[int, Any] = {}
        while True:
            for knowledge in tuple(self.known):
                manifest = knowledge.manifest
                begun = time.monotonic()
                limits, size = self.options.limits(manifest.limits), manifest.size
                if size not in squares:
                    squares[size] = await self.decoder.square(data, size, limits)
                decoded = time.monotonic()
                parts = await asyncio.gather(
                    *(self._ask(pack, manifest.version, squares[size]) for pack in self.packs)
                )
                if None not in parts:
                    surest = merged([(i[None], c[None]) for i, c in parts], MAX_TOP_K)
                    surest = without_contentless(surest, squares[size][None])
                    taken = decoded - begun, time.monotonic() - decoded
                    return Recognition(knowledge, (surest[0][0], surest[1][0]), *taken)
            await asyncio.sleep(PATIENCE_S)
            await self._learn()

    async def _learn(self) -> None:
        """Of a version that a pack has and this ingress doesn't know yet."""
        for version, uri in (await self.packs[0].versions.remote()).items():
            if version not in {k.manifest.version for k in self.known}:
                self.known[1:] = [await asyncio.to_thread(BundleMetadata, uri)]

    async def _ask(self, pack: Any, version: str, square: Any) -> TopK | None:
        """A pack's answer; of a replica that dies over it, another's."""
        try:
            return await pack.answer.remote(version, square)
        except RayActorError:
            return await pack.answer.remote(version, square)

    def explain(self, seen: Recognition, top_k: int, file: str | None = None) -> PhotoAnswer:
        """A photo's answer for people."""
        guesses = []
        for landmark_id, confidence in zip(*seen.surest, strict=True):
            if landmark_id == NO_LANDMARK or len(guesses) == top_k:
                break
            landmark = seen.knowledge.landmark(int(landmark_id))
            assert landmark is not None, "a model's landmarks are all in its bundle"
            guesses.append(
                Candidate(confidence=float(np.float32(confidence)), **landmark.model_dump())
            )
        threshold = seen.knowledge.manifest.threshold
        found = bool(guesses) and bool(seen.surest[1][0] >= threshold)
        self.metrics.predicted(guesses[0].group if found else 0)
        version = seen.knowledge.manifest.version
        return PhotoAnswer(
            file=file, is_landmark=found, landmarks=guesses, model_version=version, error=None
        )

    async def answer(
        self, data: bytes, top_k: int, file: str | None = None
    ) -> tuple[PhotoAnswer, Recognition | APIError]:
        """A photo's answer, and where it is from; of one that can't be used, why."""
        try:
            seen = await self.recognise(data)
        except APIError as refused:
            return PhotoAnswer(file=file, is_landmark=False, error=refused.sentence), refused
        return self.explain(seen, top_k, file), seen

"""Recognition of a photo, without HTTP: decode it, ask all model shards, merge their answers."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from landmark_ray.errors import UserError
from landmark_ray.kernels.contentless import without_contentless
from landmark_ray.kernels.exemplars import LEADING, leading
from landmark_ray.kernels.findings import merge
from landmark_ray.kernels.fusion import for_photos
from landmark_ray.kernels.topk import TopK, merge_top_k
from landmark_ray.runtime.ray_private import replicas_on_loopback
from landmark_ray.serving.api_errors import APIError, models_not_ready
from landmark_ray.serving.api_models import Explanation, PhotoAnswer
from landmark_ray.serving.bundle_metadata import BundleMetadata
from landmark_ray.serving.decoding import Decoder
from landmark_ray.serving.index_shards import IndexShard
from landmark_ray.serving.inference import MAX_TOP_K
from landmark_ray.serving.local import LocalHandle, ask
from landmark_ray.serving.model_shards import ModelShard
from landmark_ray.serving.photo_queue import PhotoQueue
from landmark_ray.serving.prometheus import Metrics
from landmark_ray.serving.recognition import (
    Recognition,
    explanation,
    known_landmarks,
    photo_answer,
)
from landmark_ray.serving.serve_options import KEY_VARIABLE, GraphOptions
from landmark_ray.serving.verifier import Verifier

ANSWER_TIMEOUT_S = 60.0
"""After this time without its models' answer, a photo is answered with status 503."""

RETRY_INTERVAL_S = 0.1
"""Pause between attempts while a new version of the bundle spreads over the replicas."""


class Recogniser:
    """Recognises photos with all model shards, and limits how many are in work at once."""

    def __init__(
        self,
        options: dict[str, Any],
        keyed: bool,
        shards: Sequence[DeploymentHandle[Any]] = (),
        index: Sequence[DeploymentHandle[Any]] = (),
        verifier: DeploymentHandle[Any] | None = None,
    ) -> None:
        """Connect to the shards of models and index, and to the verifier.

        Args:
            options: The fields of `GraphOptions`.
            keyed: Whether clients must send a key.
            shards: Handles of all model shards; without any, this process holds the models.
            index: Handles of all index shards; without any, this process holds the index.
            verifier: Handle of the verifier; without any, this process holds the exemplars.

        Raises:
            UserError: Clients must send a key, and this machine has none.
        """
        replicas_on_loopback()
        self.options = GraphOptions(**options)
        self.shards: list[Any] = list(shards)
        self.index: list[Any] = list(index)
        if not shards:
            self.shards = [LocalHandle(ModelShard(0, options))]
        if not index and self.options.witnesses == "fused":
            numbers = range(max(self.options.index_shards, 1))
            self.index = [LocalHandle(IndexShard(number, options)) for number in numbers]
        self.verifier: list[Any] = []
        if self.options.verify != "off" and self.options.witnesses == "fused":
            self.verifier = [verifier or LocalHandle(Verifier(options))]
        self.parts = [*self.shards, *self.index, *self.verifier]
        self.local = [part for part in self.parts if isinstance(part, LocalHandle)]
        self.key = self.options.key()
        if keyed and not self.key:
            raise UserError(
                f"a node of the cluster has no {KEY_VARIABLE}: start Ray there with that variable, "
                "or put the key into --key_file on every node"
            )
        self.decoder = Decoder(self.options.decoders, self.options.decode_seconds)
        self.metrics = Metrics()
        self.bundles: list[BundleMetadata] = []
        self.queue = PhotoQueue(self.options.queue)

    async def reconfigure(self, config: dict[str, str]) -> None:
        """Switch to another bundle; the one before serves until all shards have loaded the new."""
        for handle in self.local:
            await handle.reconfigure.remote(config)
        newest, _ = await asyncio.gather(
            asyncio.to_thread(BundleMetadata, config["bundle"], self.options.witnesses),
            self.decoder.start(),
        )
        version = newest.manifest.version
        self.bundles = [newest, *(b for b in self.bundles if b.manifest.version != version)][:2]

    @property
    def metadata(self) -> BundleMetadata:
        """The metadata of the newest bundle.

        Raises:
            APIError: No bundle is loaded yet.
        """
        if not self.bundles:
            raise models_not_ready()
        return self.bundles[0]

    async def serving(self, version: str | None = None) -> BundleMetadata:
        """Return the metadata of the newest bundle that every shard has loaded.

        Args:
            version: The only version that may be returned; any when None.

        Raises:
            APIError: There is none, or a shard doesn't answer within 2 s.
        """
        try:
            async with asyncio.timeout(2):
                loaded = await asyncio.gather(*(part.versions.remote() for part in self.parts))
        except (TimeoutError, RayActorError):
            raise models_not_ready() from None
        for bundle in self.bundles:
            own = bundle.manifest.version
            if version in (None, own) and all(own in versions for versions in loaded):
                return bundle
        raise models_not_ready()

    async def recognise(
        self, data: bytes, explain: bool, version: str | None = None
    ) -> Recognition:
        """Recognise the landmarks on a photo, an image file.

        Args:
            data: The image file.
            explain: Whether to say why.
            version: The version of the bundle that must answer; the newest that can when None.

        Raises:
            APIError: The photo can't be used, or the models don't answer.
        """
        start = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                recognition = await self._recognise(data, explain, version)
        except (TimeoutError, RayActorError):
            raise models_not_ready() from None
        self.queue.answered(time.monotonic() - start)
        self.metrics.observe_phase("decode", recognition.decode_s)
        self.metrics.observe_phase("models", recognition.models_s)
        return recognition

    async def _recognise(self, data: bytes, explain: bool, version: str | None) -> Recognition:
        """Recognise with the newest bundle that all shards have loaded, or with a version."""
        photos: dict[object, NDArray[np.uint8]] = {}
        while True:
            for metadata in tuple(self.bundles):
                manifest = metadata.manifest
                if version not in (None, manifest.version):
                    continue
                start = time.monotonic()
                limits, size = self.options.limits(manifest.limits), manifest.size
                shape = size, limits.fit
                if shape not in photos:
                    photos[shape] = await self.decoder.square(data, size, limits)
                decoded = time.monotonic()
                found, vector = await self._answer(metadata, photos[shape], data)
                if not found:
                    continue
                ids, confidences = without_contentless(found, photos[shape][None])
                models_s = time.monotonic() - decoded
                top_k = ids[0], confidences[0]
                why = await self._explain(metadata, top_k, vector, data) if explain else None
                if why or not explain:
                    return Recognition(metadata, top_k, decoded - start, models_s, why)
            if version == self.metadata.manifest.version:
                raise models_not_ready()
            if version:
                raise APIError(404, f"The version {version} of the model isn't loaded.", "model")
            await asyncio.sleep(RETRY_INTERVAL_S)
            await self._discover_versions()

    async def _discover_versions(self) -> None:
        """Read the metadata of versions that a shard has loaded and this ingress doesn't know."""
        for version, uri in (await self.shards[0].versions.remote()).items():
            if version not in {bundle.manifest.version for bundle in self.bundles}:
                newer = await asyncio.to_thread(BundleMetadata, uri, self.options.witnesses)
                self.bundles[1:] = [newer]

    async def _answer(
        self, metadata: BundleMetadata, photo: NDArray[np.uint8], data: bytes
    ) -> tuple[TopK | None, NDArray[np.float32] | None]:
        """Ask all model shards, the index, and, if that is doubtful, the verifier.

        Args:
            metadata: The bundle's.
            photo: [H, W, 3] RGB, as the models take it.
            data: The image file.

        Returns:
            Landmark ids [1, k] and confidences [1, k], or None if one of them lacks the version;
            and the vector [D] of the photo, if the models have the trunk of the index.
        """
        version = metadata.manifest.version
        replies = await asyncio.gather(
            *(ask(shard.answer, version, photo) for shard in self.shards)
        )
        if any(reply is None for reply in replies):
            return None, None
        heads = merge_top_k([(ids[None], c[None]) for (ids, c), _ in replies], MAX_TOP_K)
        vector = next((v for _, v in replies if v is not None), None)
        if metadata.fusion is None or vector is None or not self.index:
            return heads, vector
        one = heads[0][0], heads[1][0]
        found = await asyncio.gather(
            *(ask(shard.find, version, vector, one) for shard in self.index)
        )
        if any(part is None for part in found):
            return None, None
        candidates = merge(found, heads)
        fusion = for_photos(metadata.fusion, self.options.verify)
        if metadata.exemplars and fusion.is_doubtful(fusion(candidates)).all() and self.verifier:
            (named,) = leading(candidates, LEADING)
            inliers = await self._ask_verifier("verify", metadata, data, named)
            if inliers is None:
                return None, None
            candidates = candidates.with_inliers([dict(inliers)])
        return fusion.top_k(candidates, MAX_TOP_K), vector

    async def _explain(
        self,
        metadata: BundleMetadata,
        top_k: TopK,
        vector: NDArray[np.float32] | None,
        data: bytes,
    ) -> Explanation | None:
        """Ask verifier and index about the first landmark; None if the verifier lacks the version.

        Args:
            metadata: The bundle's.
            top_k: Landmark ids [k] and confidences [k] of the photo.
            vector: [D] of the photo, for the index.
            data: The image file.
        """
        known = known_landmarks(metadata, top_k, 1)
        if not known:
            return Explanation(kind="none", photos=[])
        landmark, version = known[0][0].landmark_id, metadata.manifest.version
        shards = [] if vector is None else self.index
        parts = await asyncio.gather(
            *(ask(shard.similarities, version, vector, landmark) for shard in shards)
        )
        similarities = {photo: c for part in parts if part for photo, c in part.items()}
        matches = []
        if metadata.exemplars and self.verifier:
            matches = await self._ask_verifier("explain", metadata, data, landmark)
        return None if matches is None else explanation(landmark, matches, similarities)

    async def _ask_verifier(
        self, method: str, metadata: BundleMetadata, data: bytes, about: list[int] | int
    ) -> Any:
        """Ask the verifier about a photo, an image file.

        Returns:
            None if it lacks the version, and nothing about a photo that is too large for it: the
            networks see it at a smaller fraction of its size.
        """
        assert metadata.exemplars, "only a bundle with exemplars verifies"
        limits = self.options.limits(metadata.manifest.limits)
        try:
            photo = await self.decoder.whole(data, metadata.exemplars.side, limits)
        except APIError:
            return ()
        verifier, version = self.verifier[0], metadata.manifest.version
        return await ask(getattr(verifier, method), version, photo, about)

    async def answer(
        self,
        data: bytes,
        top_k: int,
        file: str | None = None,
        explain: bool = False,
        version: str | None = None,
    ) -> tuple[PhotoAnswer, Recognition | APIError]:
        """Return a photo's answer, and the recognition or the error that it was made from."""
        try:
            recognition = await self.recognise(data, explain, version)
        except APIError as error:
            return PhotoAnswer(file=file, is_landmark=False, error=error.message), error
        answer = photo_answer(recognition, top_k, file)
        group = (answer.landmarks[0].group or "enrolled") if answer.is_landmark else 0
        self.metrics.count_prediction(str(group))
        return answer, recognition

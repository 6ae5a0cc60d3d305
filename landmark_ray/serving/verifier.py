"""The verifier: a Serve deployment that matches doubtful photos with exemplars of landmarks."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmark_ray.bundle.exemplar_files import FOLDER, exemplar_info
from landmark_ray.bundle.exemplars import Exemplars
from landmark_ray.bundle.manifest import Bundle
from landmark_ray.kernels.exemplars import ExemplarMatch, most_inliers
from landmark_ray.kernels.image import ImageError
from landmark_ray.serving.serve_options import GraphOptions
from landmark_ray.serving.versions import Versions


class Verifier(Versions[Exemplars | None]):
    """The exemplars of the bundle that `user_config` names; a bundle may have none."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Take the fields of `GraphOptions`."""
        super().__init__()
        self.options = GraphOptions(**options)
        self.threads = self.options.threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self.threads)

    def load(self, uri: str) -> tuple[str, Exemplars | None]:
        """Load the exemplars of a bundle.

        Raises:
            UserError: There is no bundle, or its exemplars are damaged.
        """
        bundle = Bundle(uri, read=lambda name: name.startswith(f"{FOLDER}/"))
        version = bundle.manifest.version
        if version in self.loaded:
            return version, self.loaded[version]
        if exemplar_info(bundle) is None:
            return version, None
        exemplars = Exemplars(bundle, self.threads)
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        features = exemplars.features(noise)  # the first calls are slower
        most_inliers(features, [features], exemplars.info.rule)
        return version, exemplars

    async def verify(
        self, version: str, photo: NDArray[np.uint8], landmarks: list[int]
    ) -> dict[int, int] | None:
        """Match a photo with the exemplars of landmarks.

        Args:
            version: Version of the bundle.
            photo: [H, W, 3] RGB.
            landmarks: The landmarks.

        Returns:
            Landmark -> most inliers; None where the version isn't loaded.
        """
        exemplars = self.loaded.get(version)
        if exemplars is None:
            return None
        return await asyncio.to_thread(self.inliers, exemplars, photo, landmarks)

    async def explain(
        self, version: str, photo: NDArray[np.uint8], landmark: int
    ) -> list[ExemplarMatch] | None:
        """Match a photo with each exemplar of a landmark, and locate the inliers.

        Args:
            version: Version of the bundle.
            photo: [H, W, 3] RGB.
            landmark: The landmark.

        Returns:
            The matches, none for a photo without usable features; None where the version isn't
            loaded.
        """
        exemplars = self.loaded.get(version)
        if exemplars is None:
            return None
        try:
            return await asyncio.to_thread(exemplars.explain, photo, landmark)
        except ImageError:
            return []

    def inliers(
        self, exemplars: Exemplars, photo: NDArray[np.uint8], landmarks: list[int]
    ) -> dict[int, int]:
        """Match the landmarks side by side, since each takes some milliseconds.

        A photo without usable features has no inliers with any of them.
        """
        try:
            features = exemplars.features(photo)
        except ImageError:
            return {}
        parts = self._pool.map(lambda one: exemplars.inliers(features, [one]), landmarks)
        return {landmark: inliers for part in parts for landmark, inliers in part.items()}

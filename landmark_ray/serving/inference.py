"""The networks of a bundle as functions: photos in, the surest landmarks out."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from landmark_ray.bundle.manifest import REFERENCE, Bundle
from landmark_ray.bundle.multihead import by_trunk
from landmark_ray.bundle.reference import Disagreement, Logits, Reference
from landmark_ray.errors import UserError
from landmark_ray.kernels.topk import GroupAnswer, TopK, top_k
from landmark_ray.serving.backends import TOLERANCE, on_openvino, on_tensorflow
from landmark_ray.serving.openvino_conversion import converted, kept_reference
from landmark_ray.serving.serve_options import GraphOptions

MAX_TOP_K = 20
"""Landmarks that an answer names at most."""

R = TypeVar("R")


class Networks:
    """Those of a pack: of the bundle's trunks every `packs`-th, with the heads that they feed.

    They answer as the trained networks did, or there are none: see `reference`.

    Raises:
        UserError: a network is missing or damaged, or answers otherwise.
    """

    def __init__(self, bundle: Bundle, pack: int, options: GraphOptions) -> None:
        """Load them; of `options`, `packs`, `runtime`, `precision` and `threads`."""
        shared = by_trunk(bundle)
        trunks = sorted(shared)[pack :: max(options.packs, 1)]
        infos = [info for trunk in trunks for info in shared[trunk]]
        self._infos = {info.group: info for info in infos}
        self._landmarks = {info.group: np.array(info.landmarks, np.int64) for info in infos}
        self._one_at_a_time = threading.Lock()
        self._lanes = CoreAllocator(0, 1)
        if options.used_runtime == "openvino":
            files = converted(bundle, trunks)
            cores = options.threads or len(os.sched_getaffinity(0))
            self._lanes = CoreAllocator(len(trunks), cores)
            self._networks = [
                on_openvino(
                    files[trunk], shared[trunk], options.precision, self._lanes.threads(number)
                )
                for number, trunk in enumerate(trunks)
            ]
        else:
            self._networks = [on_tensorflow(bundle, trunk, shared[trunk]) for trunk in trunks]
        self._check(bundle, trunks, options)

    def _check(self, bundle: Bundle, trunks: list[str], options: GraphOptions) -> None:
        """Compare with the bundle's reference; a bundle from before has that of its conversion."""
        runtime, size = options.used_runtime, bundle.manifest.size
        bf16 = runtime == "openvino" and options.precision == "bf16"
        tolerance = TOLERANCE["bf16" if bf16 else "f32"]
        try:
            if REFERENCE in bundle.manifest.files:
                whole = Reference.read(bundle, REFERENCE, size)
                whole.check(self.logits, self.groups, tolerance)
            elif runtime == "openvino":
                for trunk, network in zip(trunks, self._networks, strict=True):
                    kept = kept_reference(bundle, trunk)
                    kept.check(network, kept.logits, tolerance)
        except Disagreement as error:
            how = f"openvino, {options.precision}" if runtime == "openvino" else runtime
            made = ", ".join(f"{name} {v}" for name, v in bundle.manifest.software.items())
            other = (
                "--runtime tensorflow needs no conversion"
                if runtime == "openvino"
                else f"serve it with what made it ({made}), or run jobs/export.py --redo export"
            )
            raise UserError(f"{bundle.uri} is not served ({how}): {error}; {other}") from None

    @property
    def groups(self) -> list[int]:
        """Groups that it answers for."""
        return sorted(self._infos)

    def answer(self, photos: NDArray[np.uint8]) -> TopK:
        """The surest landmarks of photos [N, H, W, 3]."""
        answers = [
            GroupAnswer(self._landmarks[group], logits, self._infos[group].temperature)
            for group, logits in self.logits(photos).items()
        ]
        return top_k(answers, MAX_TOP_K)

    def logits(self, photos: NDArray[np.uint8]) -> Logits:
        """Of all its groups, about photos [N, H, W, 3]."""
        with self._one_at_a_time:
            parts = self._lanes.run(self._networks, photos)
        return {group: logits for part in parts for group, logits in part.items()}


class CoreAllocator:
    """Networks side by side, each on its share of the cores; those left over in turn on all.

    Two cores that compute a network each are faster than both on one and then on the other: none
    waits for another at the end of each layer.
    """

    def __init__(self, networks: int, cores: int) -> None:
        """So many networks on so many cores."""
        self._cores = cores
        self._lanes = min(networks, cores) if networks > 1 else 0
        self._beside = networks // self._lanes * self._lanes if self._lanes else 0
        self._pool = ThreadPoolExecutor(max(self._lanes, 1))

    def threads(self, number: int) -> int:
        """Of a network, by its number."""
        return self._cores // self._lanes if number < self._beside else self._cores

    def run(
        self, networks: list[Callable[[NDArray[np.uint8]], R]], photos: NDArray[np.uint8]
    ) -> list[R]:
        """What each says of photos [N, H, W, 3]."""

        def lane(first: int) -> list[R]:
            return [network(photos) for network in networks[first : self._beside : self._lanes]]

        found: list[Any] = [None] * self._beside
        for first, said in enumerate(self._pool.map(lane, range(self._lanes))):
            found[first :: self._lanes] = said
        return found + [network(photos) for network in networks[self._beside :]]

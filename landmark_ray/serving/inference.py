"""The networks of a model shard: photos in, the landmarks of highest confidence out."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from landmark_ray.bundle.manifest import REFERENCE, Bundle
from landmark_ray.bundle.multihead import FEATURES, by_trunk
from landmark_ray.bundle.reference import Disagreement, Logits, Reference
from landmark_ray.errors import UserError
from landmark_ray.kernels.metrics import NO_LANDMARK
from landmark_ray.kernels.topk import GroupAnswer, TopK, top_k
from landmark_ray.serving.backends import TOLERANCE, load_openvino, load_tensorflow
from landmark_ray.serving.openvino_conversion import ensure_converted, read_conversion_reference
from landmark_ray.serving.serve_options import GraphOptions

MAX_TOP_K = 20
"""Number of landmarks that an answer names, at most."""

R = TypeVar("R")


class ShardNetworks:
    """The networks of one model shard: every `packs`-th trunk of a bundle, with all its heads.

    They are compared with the bundle's reference answers (see `bundle.reference`) before they
    answer anything.

    Raises:
        UserError: A network is missing or damaged, or its logits differ from the reference.
    """

    def __init__(self, bundle: Bundle, shard: int, options: GraphOptions) -> None:
        """Load the networks.

        Args:
            bundle: Where they are.
            shard: Number of the shard, from 0 to `options.packs` - 1.
            options: Of these, `packs`, `runtime`, `precision` and `threads` count.
        """
        outputs = by_trunk(bundle)
        trunks = sorted(outputs)[shard :: max(options.packs, 1)]
        infos = [info for trunk in trunks for info in outputs[trunk].heads]
        self._outputs = sorted(g for trunk in trunks for g in outputs[trunk].widths)
        self._infos = {info.group: info for info in infos}
        self._landmarks = {info.group: np.array(info.landmarks, np.int64) for info in infos}
        self._lock = threading.Lock()
        self._cores = CoreAllocator(0, 1)
        if options.used_runtime == "openvino":
            files = ensure_converted(bundle, trunks)
            cores = options.threads or len(os.sched_getaffinity(0))
            self._cores = CoreAllocator(len(trunks), cores)
            self._networks = [
                load_openvino(
                    files[trunk], outputs[trunk], options.precision, self._cores.threads(number)
                )
                for number, trunk in enumerate(trunks)
            ]
        else:
            self._networks = [load_tensorflow(bundle, trunk, outputs[trunk]) for trunk in trunks]
        self._check(bundle, trunks, options)

    def _check(self, bundle: Bundle, trunks: list[str], options: GraphOptions) -> None:
        """Compare with the bundle's reference, or, in an older bundle, with the conversion's."""
        runtime, size = options.used_runtime, bundle.manifest.size
        bf16 = runtime == "openvino" and options.precision == "bf16"
        tolerance = TOLERANCE["bf16" if bf16 else "f32"]
        try:
            if REFERENCE in bundle.manifest.files:
                reference = Reference.read(bundle, REFERENCE, size)
                reference.check(self.logits, self._outputs, tolerance)
            elif runtime == "openvino":
                for trunk, network in zip(trunks, self._networks, strict=True):
                    reference = read_conversion_reference(bundle, trunk)
                    reference.check(network, reference.logits, tolerance)
        except Disagreement as error:
            used = f"openvino, {options.precision}" if runtime == "openvino" else runtime
            made_with = ", ".join(f"{name} {v}" for name, v in bundle.manifest.software.items())
            advice = (
                "--runtime tensorflow needs no conversion"
                if runtime == "openvino"
                else f"serve it with the software that made it ({made_with}), or run "
                "jobs/export.py --redo export"
            )
            raise UserError(f"{bundle.uri} is not served ({used}): {error}; {advice}") from None

    @property
    def groups(self) -> list[int]:
        """Numbers of the groups that the shard has, rising."""
        return sorted(self._infos)

    def answer(self, photos: NDArray[np.uint8]) -> tuple[TopK, NDArray[np.float32] | None]:
        """Recognise photos [N, H, W, 3], RGB.

        Returns:
            The `MAX_TOP_K` landmarks of highest confidence, and the vectors [N, D] that the index
            needs, if the shard has its trunk.
        """
        outputs = self.logits(photos)
        vectors = outputs.pop(FEATURES, None)
        if not outputs:
            none = np.full((len(photos), MAX_TOP_K), NO_LANDMARK)
            return (none, np.zeros(none.shape)), vectors
        answers = [
            GroupAnswer(self._landmarks[group], logits, self._infos[group].temperature)
            for group, logits in outputs.items()
        ]
        return top_k(answers, MAX_TOP_K), vectors

    def logits(self, photos: NDArray[np.uint8]) -> Logits:
        """Return the logits of all groups of the shard for photos [N, H, W, 3], RGB.

        The vectors of the trunk are among them as those of the group `FEATURES`.
        """
        with self._lock:
            by_network = self._cores.run(self._networks, photos)
        return {group: logits for part in by_network for group, logits in part.items()}


class CoreAllocator:
    """Runs networks in parallel, each on its share of the cores; the rest run in turn on all.

    Two cores that compute one network each are faster than both on one network after the other,
    because the cores don't wait for each other at the end of each layer.
    """

    def __init__(self, networks: int, cores: int) -> None:
        """Divide `cores` cores among `networks` networks."""
        self._total_cores = cores
        self._lanes = min(networks, cores) if networks > 1 else 0
        self._parallel = networks // self._lanes * self._lanes if self._lanes else 0
        self._pool = ThreadPoolExecutor(max(self._lanes, 1))

    def threads(self, number: int) -> int:
        """Return the number of threads that network `number` (from 0) computes with."""
        return self._total_cores // self._lanes if number < self._parallel else self._total_cores

    def run(
        self, networks: list[Callable[[NDArray[np.uint8]], R]], photos: NDArray[np.uint8]
    ) -> list[R]:
        """Return what each network returns for photos [N, H, W, 3], in the networks' order."""

        def run_lane(lane: int) -> list[R]:
            return [network(photos) for network in networks[lane : self._parallel : self._lanes]]

        lanes = list(self._pool.map(run_lane, range(self._lanes)))
        parallel = [result for results in zip(*lanes, strict=True) for result in results]
        return parallel + [network(photos) for network in networks[self._parallel :]]

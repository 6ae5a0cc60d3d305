"""The networks of a bundle as functions: photos in, the surest landmarks out."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmark_ray.bundle import HeadInfo
from landmark_ray.kernels.ensemble import GroupAnswer, Surest, top_k
from landmark_ray.manifest import Bundle
from landmark_ray.serving.assembly import assembled, by_trunk
from landmark_ray.serving.conversion import converted
from landmark_ray.serving.options import GraphOptions, Precision

Network = Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]
"""Photos [N, H, W, 3] to logits [N, C] of the groups that share a trunk."""

MOST = 20
"""Landmarks that an answer names at most."""


class Networks:
    """Those of a pack: of the bundle's trunks every `packs`-th, with the heads that they feed.

    Raises:
        UserError: a network is missing or damaged.
    """

    def __init__(self, bundle: Bundle, pack: int, options: GraphOptions) -> None:
        """Load them; of `options`, `packs`, `runtime`, `precision` and `threads`."""
        shared = by_trunk(bundle)
        trunks = sorted(shared)[pack :: max(options.packs, 1)]
        self._infos = [shared[trunk] for trunk in trunks]
        self._landmarks = [
            [np.array(i.landmarks, np.int64) for i in infos] for infos in self._infos
        ]
        self._one_at_a_time = threading.Lock()
        self._lanes = Lanes(0, 1)
        if options.used_runtime == "openvino":
            files = converted(bundle, trunks)
            cores = options.threads or len(os.sched_getaffinity(0))
            self._lanes = Lanes(len(trunks), cores)
            self._networks = [
                on_openvino(files[trunk], options.precision, self._lanes.threads(number))
                for number, trunk in enumerate(trunks)
            ]
        else:
            self._networks = [on_tensorflow(bundle, trunk, shared[trunk]) for trunk in trunks]

    @property
    def groups(self) -> list[int]:
        """Groups that it answers for."""
        return sorted(info.group for infos in self._infos for info in infos)

    def answer(self, photos: NDArray[np.uint8]) -> Surest:
        """The surest landmarks of photos [N, H, W, 3]."""
        with self._one_at_a_time:
            all_logits = self._lanes.run(self._networks, photos)
        answers = [
            GroupAnswer(landmarks, logits, info.temperature)
            for *heads, found in zip(self._infos, self._landmarks, all_logits, strict=True)
            for info, landmarks, logits in zip(*heads, found, strict=True)
        ]
        return top_k(answers, MOST)


class Lanes:
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
        self, networks: list[Network], photos: NDArray[np.uint8]
    ) -> list[list[NDArray[np.float32]]]:
        """What each says of photos [N, H, W, 3]."""

        def lane(first: int) -> list[list[NDArray[np.float32]]]:
            return [network(photos) for network in networks[first : self._beside : self._lanes]]

        found: list[list[NDArray[np.float32]]] = [[]] * self._beside
        for first, said in enumerate(self._pool.map(lane, range(self._lanes))):
            found[first :: self._lanes] = said
        return found + [network(photos) for network in networks[self._beside :]]


def on_tensorflow(bundle: Bundle, trunk: str, infos: list[HeadInfo]) -> Network:
    """A trunk with its heads as a compiled graph of TensorFlow, on a GPU where there is one."""
    import tensorflow as tf

    model = assembled(bundle, trunk, infos)
    call = tf.function(
        lambda photos: model(photos, training=False),
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)],
    )
    return lambda photos: [logits.numpy() for logits in call(photos)]


def on_openvino(file: Path, precision: Precision, threads: int) -> Network:
    """A converted trunk with its heads, on the CPU."""
    import openvino

    options: dict[str, str | int] = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": "NO",  # or all networks would take the first cores
    }
    compiled = openvino.Core().compile_model(str(file), "CPU", options)
    request = compiled.create_infer_request()

    def network(photos: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        found = request.infer([photos], share_inputs=True)
        return [np.array(found[output]) for output in compiled.outputs]

    return network

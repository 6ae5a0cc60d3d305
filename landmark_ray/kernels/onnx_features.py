"""Local features from an ONNX file, such as XFeat (Potje et al. 2024) or ALIKED (Zhao et al. 2023).

The file has the input `image` [1, 3, h, w] float32, RGB from 0 to 1, whose sides are multiples of
`STEP`. Its outputs are `keypoints` [K, 2], (x, y) in pixels of the input, `scores` [K], and
`descriptors` [K, D] of length 1. Points with a score of 0 or less do not count.
"""

import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from landmark_ray.errors import shortened
from landmark_ray.kernels.features import map_keypoints

INPUT, OUTPUTS = "image", ("keypoints", "scores", "descriptors")
STEP = 32
GPU = "CUDAExecutionProvider"

Network = Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]
"""Takes an image [1, 3, h, w]; returns the outputs by their names."""


def runs_on_gpus() -> bool:
    """Return whether the build of ONNX Runtime that is installed has the CUDA provider."""
    import onnxruntime as ort

    return GPU in ort.get_available_providers()


class OnnxFeatures:
    """A loaded detector with descriptors; calling it extracts the features of one image.

    Several threads may call it; they wait for each other, as each call uses all of its threads.
    """

    def __init__(
        self,
        model: bytes,
        *,
        max_features: int,
        side: int,
        threads: int | None = None,
        gpu: bool = False,
    ) -> None:
        """Load the model, and try it on a small image.

        On a CPU, OpenVINO computes, or ONNX Runtime where OpenVINO lacks an operation.

        Args:
            model: Contents of the ONNX file.
            max_features: Largest number of features of an image.
            side: Longest side to which an image is resized, in pixels; it is rounded up to a
                multiple of `STEP`.
            threads: Number of threads; the runtime chooses it when None.
            gpu: Whether ONNX Runtime computes on the GPU.

        Raises:
            ValueError: The file cannot be loaded, or its inputs or outputs are others.
        """
        self._max_features, self._side = max_features, side
        self._network = _load(model, threads, gpu)
        self._lock = threading.Lock()  # OpenVINO refuses a request that is busy
        noise = np.random.default_rng(0).random((1, 3, 2 * STEP, 3 * STEP), np.float32)
        self._check(self._network(noise))

    def _check(self, found: dict[str, NDArray[np.float32]]) -> None:
        points, scores, descriptors = (found[name] for name in OUTPUTS)
        n = len(scores)
        if points.shape != (n, 2) or scores.shape != (n,) or descriptors.shape[:-1] != (n,):
            shapes = ", ".join(f"{name} {list(found[name].shape)}" for name in OUTPUTS)
            raise ValueError(
                f"its outputs are {shapes}, but must be keypoints [K, 2], scores [K] and "
                "descriptors [K, D]"
            )
        lengths = np.linalg.norm(descriptors[scores > 0], axis=1)
        if not np.allclose(lengths, 1, atol=0.01):
            raise ValueError(
                f"its descriptors have lengths from {lengths.min():.3g} to {lengths.max():.3g}, "
                "but must have length 1"
            )

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Extract the features of an image [H, W, 3] uint8 RGB.

        Returns:
            Keypoints [N, 2] float32 (x, y) in pixels of `image`, and descriptors [N, D] float32,
            those of the highest score first. Of equal scores, the first of the model is first.
            The model can return numbers that are not finite.
        """
        resized = _resize(image, self._side)
        scaled = resized.astype(np.float32).transpose(2, 0, 1)[None] / np.float32(255)
        with self._lock:
            found = self._network(np.ascontiguousarray(scaled, np.float32))
        points, scores, descriptors = (found[name] for name in OUTPUTS)
        order = np.argsort(-scores, kind="stable")[: self._max_features]
        order = order[scores[order] > 0]
        return map_keypoints(points[order], resized.shape, image.shape), descriptors[order]


def _resize(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resize an image [H, W, 3] to a longest side of `side`, rounded up to multiples of `STEP`."""
    factor = side / max(image.shape[:2])
    height, width = (max(-(-round(n * factor) // STEP), 1) * STEP for n in image.shape[:2])
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)


def _load(model: bytes, threads: int | None, gpu: bool) -> Network:
    """Load a model by the runtime that fits.

    Raises:
        ValueError: No runtime can load it, or its inputs or outputs are others.
    """
    import onnx
    import onnxruntime as ort

    try:
        graph = onnx.load_from_string(model).graph
    except Exception:  # of protobuf
        graph = onnx.GraphProto()
    if not graph.node:
        raise ValueError("it is no ONNX file")
    _check_names(graph)
    gpu = gpu and runs_on_gpus()
    if not gpu and (network := _by_openvino(model, threads)):
        return network
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    options.intra_op_num_threads = threads or 0
    try:
        providers = [GPU] if gpu else ["CPUExecutionProvider"]
        return _by_onnxruntime(ort.InferenceSession(model, options, providers=providers))
    except Exception as error:  # ONNX Runtime has an exception of its own for each status
        raise ValueError(f"ONNX Runtime can't load it: {shortened(error)}") from None


def _check_names(graph: Any) -> None:
    """Refuse a graph with other inputs or outputs.

    Raises:
        ValueError: Its names, or the shape of its input, are others.
    """
    constants = {value.name for value in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    outputs = {value.name for value in graph.output}
    names = [value.name for value in inputs]
    if names != [INPUT] or not outputs.issuperset(OUTPUTS):
        raise ValueError(
            f"it takes {', '.join(names) or 'nothing'} and returns {', '.join(sorted(outputs))}, "
            f"but must take {INPUT} and return {', '.join(OUTPUTS)}"
        )
    sizes = [size.dim_value for size in inputs[0].type.tensor_type.shape.dim]  # 0: any
    if len(sizes) != 4 or sizes[0] > 1 or sizes[1] not in (0, 3) or any(sizes[2:]):
        shape = ", ".join(str(size or "any") for size in sizes)
        raise ValueError(f"it takes an image [{shape}], but must take [1, 3, any, any]")


def _by_onnxruntime(session: Any) -> Network:
    """Return a network that ONNX Runtime computes."""

    def network(image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        found = session.run(list(OUTPUTS), {INPUT: image})
        return {n: np.asarray(v, np.float32) for n, v in zip(OUTPUTS, found, strict=True)}

    return network


def _by_openvino(model: bytes, threads: int | None) -> Network | None:
    """Return a network that OpenVINO computes; None where it is not there, or can't.

    It computes in float32 on every processor, so that equal photos have equal features.
    """
    try:
        import openvino
    except ImportError:
        return None
    options: dict[str, str | int] = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": "NO",  # pinned, all workers would run on the first cores
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    core = openvino.Core()
    try:
        compiled = core.compile_model(core.read_model(model), "CPU", options)
    except RuntimeError:  # an operation that it lacks
        return None
    request = compiled.create_infer_request()

    def network(image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        results = request.infer([image], share_inputs=True)
        return {n: np.array(results[compiled.output(n)], np.float32) for n in OUTPUTS}

    return network

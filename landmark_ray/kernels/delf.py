"""DELF features (Noh et al. 2017) from a TF-Hub module, or any SavedModel with its signature."""

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_OUTPUTS = ("locations", "descriptors")
_INSTEAD = "give a TF-Hub address such as https://tfhub.dev/google/delf/1, or a SavedModel folder"


class Delf:
    """A loaded model; calling it extracts the features of one image."""

    def __init__(
        self,
        handle: str,
        *,
        image_scales: Sequence[float],
        score_threshold: float,
        max_features: int,
        threads: int | None = None,
    ) -> None:
        """Load the model.

        Args:
            handle: TF-Hub address or SavedModel folder.
            image_scales: the pyramid, as factors of the image's size.
            score_threshold: features with a lower attention score are left out.
            max_features: most features of an image.
            threads: of TensorFlow; without effect where this process has already run it.

        Raises:
            ValueError: the handle can't be loaded, or is no such model.
        """
        import tensorflow as tf

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it imports the old pkg_resources
            import tensorflow_hub as hub

        _set_up(tf, threads)
        self._tf = tf
        self._model = _load(hub, handle)  # the signature doesn't keep its variables alive
        self._extract = _signature(self._model, handle)
        self._options = {
            "image_scales": tf.constant(image_scales, tf.float32),
            "score_threshold": tf.constant(score_threshold, tf.float32),
            "max_feature_num": tf.constant(max_features, tf.int32),
        }

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features of an image [H, W, 3] RGB.

        Returns:
            Keypoints [N, 2] float32 (x, y) in pixels of the image, and descriptors [N, D] float32
            (released weights: 40-D, unit length), as ordered by the model.
        """
        scaled = self._tf.constant(image, self._tf.float32) / 255
        out = self._extract(image=scaled, **self._options)
        yx, descriptors = (out[name].numpy().astype(np.float32) for name in _OUTPUTS)
        return np.ascontiguousarray(yx[:, ::-1]), descriptors


def _set_up(tf: Any, threads: int | None) -> None:
    with contextlib.suppress(RuntimeError):  # already initialised: too late to change
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)


def _load(hub: Any, handle: str) -> Any:
    try:
        return hub.load(handle)
    except Exception as error:  # the network, a missing file, a broken protobuf: one remedy
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"DELF model {handle!r} can't be loaded ({why}); {_INSTEAD}") from error


def _signature(model: Any, handle: str) -> Callable[..., Any]:
    signatures = getattr(model, "signatures", {})
    if "default" not in signatures:
        has = ", ".join(signatures) or "none"
        raise ValueError(f"{handle!r} has no signature 'default' (it has: {has}); {_INSTEAD}")
    signature: Callable[..., Any] = signatures["default"]
    outputs = signature.structured_outputs  # type: ignore[attr-defined]
    missing = [name for name in _OUTPUTS if name not in outputs]
    if missing:
        raise ValueError(
            f"the signature 'default' of {handle!r} lacks the output "
            f"{', '.join(missing)} (it has: {', '.join(outputs)}); {_INSTEAD}"
        )
    return signature

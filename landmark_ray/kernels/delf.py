"""DELF features (Noh et al. 2017) from a TF-Hub module or any SavedModel with its signature."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.saved_model import SavedModel

_OUTPUTS = ("locations", "descriptors")
ADDRESS = "https://tfhub.dev/google/delf/1"


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
            image_scales: Scales of the image pyramid, as factors of the image's size.
            score_threshold: Features with a lower attention score are discarded.
            max_features: Largest number of features of an image.
            threads: Threads of TensorFlow, unless it has already run in this process.

        Raises:
            ValueError: The handle cannot be loaded, or the model has another signature.
        """
        self._model = SavedModel(handle, _OUTPUTS, ADDRESS, threads=threads)
        import tensorflow as tf

        self._tf = tf
        self._options = {
            "image_scales": tf.constant(image_scales, tf.float32),
            "score_threshold": tf.constant(score_threshold, tf.float32),
            "max_feature_num": tf.constant(max_features, tf.int32),
        }

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Extract the features of an image [H, W, 3] uint8 RGB.

        Returns:
            Keypoints [N, 2] float32 (x, y) in pixels of the image, and descriptors [N, D] float32
            (40-D and of unit length with the released weights), in the order of the model.
        """
        scaled = self._tf.constant(image, self._tf.float32) / 255
        out = self._model(image=scaled, **self._options)
        yx, descriptors = (out[name].astype(np.float32) for name in _OUTPUTS)
        return np.ascontiguousarray(yx[:, ::-1]), descriptors

"""Local features of a photo that is no row of `images`: RootSIFT, or those of an ONNX file."""

import contextlib
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.features import ImageFeatures, quantise
from landmark_ray.kernels.image import ImageError
from landmark_ray.kernels.onnx_features import OnnxFeatures
from landmark_ray.kernels.sift import sift_features


class LocalFeatures:
    """Computes the local features of photos; several threads may call it."""

    def __init__(
        self, model: bytes | None, *, max_features: int, side: int, threads: int | None = None
    ) -> None:
        """Load the extractor.

        Args:
            model: Contents of an ONNX file, see `OnnxFeatures`; SIFT when None.
            max_features: Largest number of features of a photo.
            side: Longest side to which a photo is resized, in pixels.
            threads: Threads of the ONNX file's network; the runtime chooses it when None.

        Raises:
            ValueError: The ONNX file cannot be used.
        """
        self._options = {"max_features": max_features, "side": side}
        self._network = (
            None
            if model is None
            else OnnxFeatures(model, max_features=max_features, side=side, threads=threads)
        )

    def __call__(self, photo: NDArray[np.uint8]) -> ImageFeatures:
        """Compute the features of a photo [H, W, 3] uint8 RGB.

        Raises:
            ImageError: The photo has no usable features.
        """
        with usable():
            if self._network is None:
                return sift_features(photo, **self._options)
            points, descriptors = self._network(photo)
            return ImageFeatures(points, quantise(descriptors), max(photo.shape[:2]))


@contextlib.contextmanager
def usable() -> Iterator[None]:
    """Turn what extractors raise for a photo into an ImageError.

    Raises:
        ImageError: OpenCV failed, or the features are malformed.
    """
    try:
        yield
    except cv2.error as error:
        raise ImageError(str(error)) from None
    except ValueError as error:
        raise ImageError(f"bad features: {error}") from None

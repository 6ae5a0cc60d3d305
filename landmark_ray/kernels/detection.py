"""Object detection by models with the signature of TF-Hub's Open Images V4 modules.

Two of them are google/openimages_v4/ssd/mobilenet_v2/1 (fast) and
google/faster_rcnn/openimages_v4/inception_resnet_v2/1 (slow, better on small objects).
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.saved_model import SavedModel

ADDRESS = "https://tfhub.dev/google/openimages_v4/ssd/mobilenet_v2/1"
_OUTPUTS = ("detection_class_entities", "detection_scores", "detection_boxes")

GRID = 64
"""The covered area of an image is counted on a grid of GRID x GRID points."""


class Detections(NamedTuple):
    """The objects that a detector found on an image, the highest score first.

    Attributes:
        entities: [N] class names of Open Images.
        scores: [N] from 0 to 1.
        boxes: [N, 4] top, left, bottom, right, as shares of the height and width.
    """

    entities: Sequence[str]
    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]


class Detector:
    """A loaded model; calling it finds the objects of one image."""

    def __init__(self, handle: str, *, min_score: float, threads: int | None = None) -> None:
        """Load the model.

        Args:
            handle: TF-Hub address or SavedModel folder.
            min_score: Objects with a lower score are discarded.
            threads: Threads of TensorFlow, unless it has already run in this process.

        Raises:
            ValueError: The handle cannot be loaded, or the model has another signature.
        """
        self._model = SavedModel(handle, _OUTPUTS, ADDRESS, threads=threads)
        self._min_score = min_score
        import tensorflow as tf

        self._tf = tf

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Find the objects on an image [H, W, 3] uint8 RGB."""
        scaled = self._tf.constant(image[None], self._tf.float32) / 255
        out = self._model(scaled)
        entities, scores, boxes = (out[name] for name in _OUTPUTS)
        scores = scores.reshape(-1).astype(np.float32)
        boxes = boxes.reshape(-1, 4).astype(np.float32).clip(0, 1)
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] >= self._min_score]
        names = [entity.decode(errors="replace") for entity in entities.reshape(-1)[order]]
        return Detections(names, scores[order], boxes[order])


def covered_share(detections: Detections, entities: Collection[str], min_score: float) -> float:
    """Return the share (0 to 1) of an image that the boxes of some classes cover together.

    Args:
        detections: The objects on the image.
        entities: Class names.
        min_score: Objects with a lower score are ignored.
    """
    area = np.zeros((GRID, GRID), bool)
    for entity, score, box in zip(
        detections.entities, detections.scores, detections.boxes, strict=True
    ):
        if entity in entities and score >= min_score:
            top, left, bottom, right = np.rint(box * GRID).astype(int)
            area[top:bottom, left:right] = True
    return float(area.mean())


def contains_any(detections: Detections, entities: Collection[str], min_score: float) -> bool:
    """Return whether an object of some classes, with at least a score, is on an image."""
    objects = zip(detections.entities, detections.scores, strict=True)
    return any(entity in entities and score >= min_score for entity, score in objects)

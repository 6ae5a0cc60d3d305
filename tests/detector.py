"""A small detector with the signature of TF-Hub's Open Images V4 modules.

It really looks: red is people, green is trees, grey is buildings, each in one box around all pixels
of its colour, as sure as the box is full.
"""

from pathlib import Path

from tests.deadly import unless

ENTITIES = {"Person": (0.9, 0.1, 0.1), "Tree": (0.1, 0.6, 0.1), "Building": (0.5, 0.5, 0.5)}
"""Entity -> its colour."""

NEAR = 0.15
LEAST = 0.01


def save(path: Path, deadly: int = -1) -> Path:
    """Write the SavedModel.

    Args:
        path: its folder.
        deadly: kills at the image of this `total`.
    """
    import tensorflow as tf

    class Detector(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.float32, "images")])
        def detect(self, images):
            images = unless(images, deadly)
            size = tf.cast(tf.shape(images)[1:3], tf.float32)
            boxes, scores = [], []
            for colour in ENTITIES.values():
                near = tf.reduce_all(tf.abs(images[0] - tf.constant(colour)) < NEAR, axis=-1)
                rows, columns = (
                    tf.cast(tf.where(tf.reduce_any(near, axis=axis))[:, 0], tf.float32)
                    for axis in (1, 0)
                )
                count = tf.reduce_sum(tf.cast(near, tf.float32))
                seen = count > LEAST * size[0] * size[1]

                def ends(places, side, seen=seen):
                    first = tf.where(seen, tf.reduce_min(places), 0.0)
                    last = tf.where(seen, tf.reduce_max(places) + 1, 0.0)
                    return first / side, last / side

                (top, bottom), (left, right) = ends(rows, size[0]), ends(columns, size[1])
                area = tf.maximum((bottom - top) * (right - left) * size[0] * size[1], 1.0)
                boxes.append(tf.stack([top, left, bottom, right]))
                scores.append(tf.where(seen, count / area, 0.0))
            names = tf.constant(list(ENTITIES))
            return {
                "detection_boxes": tf.stack(boxes),
                "detection_scores": tf.stack(scores),
                "detection_class_entities": names,
                "detection_class_names": names,
                "detection_class_labels": tf.range(len(ENTITIES), dtype=tf.int64),
            }

    model = Detector()
    tf.saved_model.save(model, str(path), {"default": model.detect})
    return path

"""A DELF of a few pixels, which can be deadly."""

from pathlib import Path

from tests.deadly import unless

GRID = 8
"""Features of an image: a grid of so many times so many points."""


def signature():
    """What DELF takes."""
    import tensorflow as tf

    return [
        tf.TensorSpec([None, None, 3], tf.float32, "image"),
        tf.TensorSpec([], tf.float32, "score_threshold"),
        tf.TensorSpec([None], tf.float32, "image_scales"),
        tf.TensorSpec([], tf.int32, "max_feature_num"),
    ]


def save(path: Path, deadly: int = -1) -> Path:
    """Write the SavedModel.

    Args:
        path: its folder.
        deadly: kills at the image of this `total`.
    """
    import tensorflow as tf

    class Delf(tf.Module):
        @tf.function(input_signature=signature())
        def extract(self, image, score_threshold, image_scales, max_feature_num):
            small = tf.image.resize(unless(image, deadly), (GRID, GRID))
            size = tf.cast(tf.shape(image)[:2], tf.float32)
            axis = (tf.range(GRID, dtype=tf.float32) + 0.5) / GRID
            points = tf.stack(tf.meshgrid(axis, axis, indexing="ij"), -1)
            descriptors = tf.reshape(small, (-1, 3))
            return {
                "locations": tf.reshape(points, (-1, 2)) * size,
                "descriptors": tf.math.l2_normalize(descriptors + 1e-3, -1),
            }

    model = Delf()
    tf.saved_model.save(model, str(path), {"default": model.extract})
    return path

"""What ends a model's process at one photo, as a fault in its native code does."""

import numpy as np

from landmark_ray.kernels.image import decode


def total(photo: bytes, max_side: int | None = None) -> int:
    """What tells a photo from all others in a graph: the sum of its values."""
    return int(decode(photo, max_side).sum(dtype=np.int64))


def unless(image, deadly: int):
    """The image, from 0 to 1, in a graph that ends the process if its values add up to `deadly`."""
    import tensorflow as tf

    if tf.reduce_sum(tf.cast(tf.round(image * 255), tf.int64)) == deadly:
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="a fault")]):
            image = tf.identity(image)
    return image

"""The pixels of a shard's images are those that tasks decoded, or are decoded by the worker."""

import numpy as np
import pytest

from landmark_ray.data.root import Root
from landmark_ray.kernels.image import ImageError
from landmark_ray.runtime.pixels import PIXELS, pixels_of
from landmark_ray.runtime.shards import ShardReader


def pixels_by(fields, tmp_path):
    """What gives the pixels of a shard with these fields; `decode` repeats the bytes as a row."""
    shard = ShardReader(Root(str(tmp_path)), "extract", 0, 0, 2, fields)
    return pixels_of(shard, lambda jpeg: np.frombuffer(jpeg, np.uint8).reshape(1, -1, 3))


def test_pixels_of_tasks_are_taken_and_their_errors_raised(tmp_path):
    wanted = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    rows = [
        {"image_id": "a", "height": 2, "data": wanted.tobytes()},
        {"image_id": "b", "height": 0, "data": b"is truncated"},
    ]
    pixels = pixels_by({PIXELS: rows}, tmp_path)
    assert np.array_equal(pixels({"image_id": "a"}), wanted)
    with pytest.raises(ImageError, match="is truncated"):
        pixels({"image_id": "b"})


def test_without_them_the_worker_decodes(tmp_path):
    pixels = pixels_by({}, tmp_path)
    assert pixels({"image_id": "a", "jpeg": b"abcdef"}).tolist() == [
        [[97, 98, 99], [100, 101, 102]]
    ]

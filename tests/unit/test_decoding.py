import io

import numpy as np
import pytest
from PIL import Image

from landmark_ray.serving.decoding import is_plain_jpeg


def saved(kind="JPEG", size=(640, 480), **options):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    out = io.BytesIO()
    small.resize(size).save(out, kind, **options)
    return out.getvalue()


def test_a_cameras_jpeg_is_plain_jpeg():
    assert is_plain_jpeg(saved())


@pytest.mark.parametrize(
    "data",
    [
        saved(progressive=True),
        saved(icc_profile=b"whatever it holds"),
        saved(size=(2400, 1800)),  # too many pixels for a thread
        saved("PNG"),
        saved("WEBP"),
        saved()[:20],
        b"",
        b"\xff\xd8",
        saved() + 3 * b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00",  # more and more scans
    ],
    ids=["progressive", "profile", "large", "png", "webp", "cut", "empty", "start", "scans"],
)
def test_what_may_take_long_goes_to_a_process(data):
    assert not is_plain_jpeg(data)

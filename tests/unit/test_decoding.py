import io

import numpy as np
import pytest
from PIL import Image

from landmark_ray.serving.decoding import is_plain_jpeg

EMPTY_COMMENT = b"\xff\xfe\x00\x02"
"""A segment of a JPEG that holds nothing."""


def saved(kind="JPEG", size=(640, 480), **options):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    out = io.BytesIO()
    small.resize(size).save(out, kind, **options)
    return out.getvalue()


def test_a_cameras_jpeg_is_plain_jpeg():
    assert is_plain_jpeg(saved())
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    assert is_plain_jpeg(saved(exif=exif, comment="a comment", quality=95, subsampling=0))
    assert is_plain_jpeg(saved()[:2] + 50 * EMPTY_COMMENT + saved()[2:])


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
        saved()[:2] + 250 * EMPTY_COMMENT + saved()[2:],
        saved()[:2] + 9 * b"\xff" + saved()[2:],
        saved()[:20] + 9 * b"\x00" + saved()[20:],
    ],
    ids=[
        *("progressive", "profile", "large", "png", "webp", "cut", "empty", "start", "scans"),
        *("segments", "fill", "between"),
    ],
)
def test_what_may_take_long_goes_to_a_process(data):
    assert not is_plain_jpeg(data)

import asyncio
import contextlib
import io
import time

import numpy as np
import pytest
from PIL import Image

from landmark_ray.kernels.image import Limits
from landmark_ray.serving import decoding
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


@pytest.mark.parametrize("plain", [True, False], ids=["threads", "processes"])
def test_photos_whose_clients_left_are_not_decoded(decoder, plain, monkeypatch):
    monkeypatch.setattr(decoding, "is_plain_jpeg", lambda data: plain)

    async def burst():
        async def wait(seconds):
            with contextlib.suppress(asyncio.CancelledError):
                await decoder._run(time.sleep, seconds)

        waiting = [asyncio.create_task(wait(0.5)) for _ in range(12)]
        await asyncio.sleep(0.1)
        for client in waiting:
            client.cancel()
        begun = time.monotonic()
        await wait(0)
        return time.monotonic() - begun

    assert asyncio.run(burst()) < 3, "12 photos take 6 s"


def test_a_photo_that_fails_leaves_its_turn_to_the_next(decoder):
    async def answers():
        for data in (b"no photo", saved()[:300], saved("PNG")[:300], saved()):
            with contextlib.suppress(decoding.APIError):
                found = await decoder.square(data, 32, Limits())
        return found.shape

    assert asyncio.run(answers()) == (32, 32, 3)

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from landmark_ray.kernels import image as kernel
from landmark_ray.kernels.image import ImageError, Limits
from tests.conftest import REPO

LIMITS = Limits(max_side=100, min_side=8, max_pixels=1e6)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def quarters(width: int = 64, height: int = 48) -> Image.Image:
    """Red, green / blue, white: tells which way is up."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = 255, 0, 0
    pixels[: height // 2, width // 2 :] = 0, 255, 0
    pixels[height // 2 :, : width // 2] = 0, 0, 255
    pixels[height // 2 :, width // 2 :] = 255, 255, 255
    return Image.fromarray(pixels)


def corners(data: bytes) -> list[str]:
    """Nearest pure colour at the centre of each quarter."""
    image = Image.open(io.BytesIO(data))
    assert image.mode == "RGB"
    names = {
        (255, 0, 0): "red",
        (0, 255, 0): "green",
        (0, 0, 255): "blue",
        (255, 255, 255): "white",
    }
    w, h = image.size
    seen = [
        image.getpixel(((2 * x + 1) * w // 4, (2 * y + 1) * h // 4)) for y in (0, 1) for x in (0, 1)
    ]
    return [names[min(names, key=lambda c: np.abs(np.subtract(c, p)).sum())] for p in seen]


UPRIGHT = ["red", "green", "blue", "white"]


def bomb(width: int, height: int) -> bytes:
    """A valid PNG of black pixels, made row by row."""
    packer = zlib.compressobj()
    row = b"\0" * (width + 1)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return png_of_zeros(width, height, packed)


def png_of_zeros(width: int, height: int, body: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_jpeg_that_needs_no_change_keeps_its_bytes():
    data = saved(quarters(), "JPEG", quality=90)
    photo = kernel.normalise(data, LIMITS)
    assert (photo.jpeg, photo.width, photo.height) == (data, 64, 48)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotated_image_comes_out_upright(orientation):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = quarters().transpose(undo[orientation]) if orientation > 1 else quarters()
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = kernel.normalise(saved(stored, "JPEG", quality=95, exif=exif), LIMITS)
    assert (photo.width, photo.height) == (64, 48)
    assert corners(photo.jpeg) == UPRIGHT


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("P", "PNG"), ("RGBA", "PNG"), ("RGB", "WEBP"), ("CMYK", "JPEG"), ("RGB", "GIF")],
)
def test_other_formats_and_modes_become_rgb_jpeg(mode, kind):
    photo = kernel.normalise(saved(quarters().convert(mode), kind), LIMITS)
    assert Image.open(io.BytesIO(photo.jpeg)).format == "JPEG"
    assert corners(photo.jpeg) == UPRIGHT


def test_transparent_pixels_become_white():
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    photo = kernel.normalise(saved(clear, "PNG"), LIMITS)
    assert kernel.decode(photo.jpeg).min() > 250


def test_sixteen_bit_grey_keeps_its_range():
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    grey = kernel.decode(kernel.normalise(saved(Image.fromarray(ramp), "PNG"), LIMITS).jpeg)
    assert grey[0, 0, 0] < 5
    assert 120 < grey[32, 0, 0] < 135
    assert grey[-1, -1, 0] > 250


def test_large_image_is_reduced_to_the_longest_side():
    photo = kernel.normalise(saved(quarters(400, 300), "JPEG"), LIMITS)
    assert (photo.width, photo.height) == (100, 75)
    assert corners(photo.jpeg) == UPRIGHT


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b"<html>404 Not Found</html>", "not an image"),
        (b"\xff\xd8", "not an image"),
        (saved(quarters(400, 300), "JPEG")[:-200], "truncated"),
        (saved(Image.new("RGB", (1, 1)), "PNG"), "too small"),
        (png_of_zeros(2000, 2000), "too large"),
        (png_of_zeros(30000, 30000), "too large"),
        (png_of_zeros(64, 64), "truncated"),
    ],
)
def test_unusable_image_is_refused_with_its_kind(data, kind):
    with pytest.raises(ImageError) as error:
        kernel.normalise(data, LIMITS)
    assert str(error.value).partition(":")[0] == kind


def test_square_is_close_to_pillows_fit():
    noise = Image.effect_noise((1024, 768), 60).convert("RGB").resize((1024, 768))
    smooth = Image.blend(noise, quarters(1024, 768), 0.7)
    data = saved(smooth, "JPEG", quality=90)
    wanted = ImageOps.fit(Image.open(io.BytesIO(data)).convert("RGB"), (224, 224))
    got = kernel.square(data, 224)
    assert got.shape == (224, 224, 3)
    assert np.abs(np.subtract(got, wanted, dtype=int)).mean() < 2


def tower(width, height):
    """A photo whose upper third is red, the middle green and the lower blue."""
    rows = np.repeat(np.eye(3, dtype=np.uint8) * 255, height // 3, axis=0)
    return np.repeat(rows[:, None], width, axis=1)


def test_padded_square_shows_all_of_a_photo_in_its_proportions():
    data = saved(Image.fromarray(tower(100, 300)), "PNG")
    cropped, padded = kernel.square(data, 90), kernel.square(data, 90, "pad")
    assert (cropped[20:-20] == [0, 255, 0]).all(), "the centre is green"
    assert padded.shape == (90, 90, 3)
    np.testing.assert_array_equal(padded[::30].argmax(axis=-1), np.repeat([[0], [1], [2]], 90, 1))


@pytest.mark.parametrize("shape", [(32, 20_000), (20_000, 32)])
def test_padded_square_of_a_thin_photo_is_its_line(shape):
    data = saved(Image.fromarray(np.full((*shape, 3), (10, 20, 30), np.uint8)), "PNG")
    for square in (kernel.square(data, 90, "pad"), kernel.model_input(data, 90, Limits(fit="pad"))):
        assert square.shape == (90, 90, 3)
        assert (square == [10, 20, 30]).all()


def test_padded_square_continues_a_photo_by_its_mirror_image():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 3, 3), np.uint8)  # 2 columns are missing left, 3 right
    got = kernel.square(saved(Image.fromarray(pixels), "PNG"), 8, "pad")
    np.testing.assert_array_equal(got, pixels[:, [1, 0, 0, 1, 2, 2, 1, 0]])
    wide = kernel.square(saved(Image.fromarray(pixels.transpose(1, 0, 2)), "PNG"), 8, "pad")
    np.testing.assert_array_equal(wide, got.transpose(1, 0, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_padded_input_of_a_turned_photo_is_that_of_an_upright_one(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(quarters(150, 401), "JPEG", quality=95, exif=exif)
    limits = Limits(fit="pad")
    got = kernel.model_input(data, 64, limits).astype(int)
    wanted = kernel.square(kernel.normalise(data, limits).jpeg, 64, "pad")
    assert np.abs(got - wanted).mean() < 2


def test_pixel_bomb_costs_no_memory():
    code = """
import resource, sys
from landmark_ray.kernels.image import ImageError, Limits, normalise
from tests.unit.test_image import bomb
data = bomb(12000, 12000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    normalise(data, Limits())
except ImageError as error:
    assert "too large" in str(error)
    print(len(data), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO)
    size, kib = map(int, done.stdout.split())
    assert size > 100_000 and kib < 20_000, "144 million pixels were touched"


def test_model_input_is_the_training_square_of_an_upright_photo():
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 255, (6, 9, 3), dtype=np.uint8)).resize((900, 600))
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels.save(out, "JPEG", quality=95, exif=exif)
    upright = kernel.normalise(out.getvalue(), kernel.Limits())
    wanted = np.asarray(kernel.square(upright.jpeg, 224))
    got = kernel.model_input(out.getvalue(), 224, kernel.Limits())
    assert got.shape == (224, 224, 3)
    assert np.abs(got.astype(int) - wanted).mean() < 2


def test_model_input_refuses_what_ingest_refuses():
    out = io.BytesIO()
    Image.new("RGB", (20, 500)).save(out, "PNG")
    with pytest.raises(kernel.ImageError, match="too small: 20 x 500 pixels"):
        kernel.model_input(out.getvalue(), 224, kernel.Limits())
    with pytest.raises(kernel.ImageError, match="too large"):
        kernel.model_input(out.getvalue(), 224, kernel.Limits(min_side=1, max_pixels=9_999))


def test_limits_hold_for_a_photo_that_is_decoded_whole():
    out = io.BytesIO()
    Image.new("RGB", (300, 200)).save(out, "PNG")
    assert kernel.decode(out.getvalue(), limits=Limits(max_pixels=60_000)).shape == (200, 300, 3)
    for side in (None, 100):
        with pytest.raises(ImageError, match="too large: 300 x 200 pixels"):
            kernel.decode(out.getvalue(), side, Limits(max_pixels=59_999))

"""Photos are seen upright, whatever format says which way is up."""

import io

import numpy as np
import pillow_heif
import pytest
from PIL import Image, TiffImagePlugin

from landmark_ray.kernels import image as kernel
from landmark_ray.kernels.image import Limits
from tests.pictures import apart, saved, scene

TURNED = {  # what a camera stores that writes such an orientation (the inverse of what undoes it)
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def xmp(orientation: int) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{orientation}"/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def in_tiff(image: Image.Image, orientation: int, **options) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = orientation
    return saved(image, "TIFF", tiffinfo=tags, **options)


def in_heif(image: Image.Image, orientation: int) -> bytes:
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out, quality=90, exif=exif(orientation).tobytes())
    return out.getvalue()


ORIENTED = {
    "JPEG": lambda image, n: saved(image, "JPEG", quality=95, exif=exif(n)),
    "JPEG, XMP": lambda image, n: saved(image, "JPEG", quality=95, xmp=xmp(n)),
    "PNG": lambda image, n: saved(image, "PNG", exif=exif(n)),
    "WebP": lambda image, n: saved(image, "WEBP", quality=95, exif=exif(n)),
    "AVIF": lambda image, n: saved(image, "AVIF", quality=95, exif=exif(n)),
    "AVIF, XMP too": lambda image, n: saved(image, "AVIF", quality=95, exif=exif(n), xmp=xmp(n)),
    "HEIF": in_heif,
    "MPO": lambda image, n: saved(
        image, "MPO", quality=95, exif=exif(n), save_all=True, append_images=[image]
    ),
    "TIFF": in_tiff,
    "TIFF, LZW": lambda image, n: in_tiff(image, n, compression="tiff_lzw"),
    "TIFF, JPEG": lambda image, n: in_tiff(image, n, compression="jpeg", quality=95),
    "TIFF, grey": lambda image, n: in_tiff(image.convert("L"), n),
    "TIFF, 16 bits": lambda image, n: in_tiff(
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), n
    ),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ORIENTED)
def test_photo_is_turned_upright_once(kind, orientation):
    upright, turn = scene(), TURNED[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    data = ORIENTED[kind](stored, orientation)
    grey = kind in ("TIFF, grey", "TIFF, 16 bits")
    assert apart(data, upright.convert("L") if grey else upright) < 4
    photo = kernel.normalise(data, Limits())
    assert (photo.width, photo.height) == upright.size
    if orientation > 1:  # else a JPEG keeps its bytes
        assert Image.open(io.BytesIO(photo.jpeg)).getexif().get(0x0112, 1) == 1


def test_scanners_tiff_is_upright(shared):
    folder = shared / "field" / "tiff_orientation"
    upright = Image.open(folder / "upright.png")
    assert apart((folder / "o6.tif").read_bytes(), upright) < 1


def grey() -> np.ndarray:
    """[H, W] of 0 to 1, mean about a half."""
    values = np.asarray(scene().convert("L"), np.float64)
    return (values - values.min()) / np.ptp(values)

"""Decoding, normalising and resizing photos with Pillow. Colour is RGB, arrays are [H, W, 3]."""

import hashlib
import io
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import imagehash
import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, ImageOps

pillow_heif.register_heif_opener()

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "HEIF", "AVIF")
"""What photos come in. Pillow's other decoders are left alone: that of EPS runs a program."""

THUMBNAIL = 32
"""Width and height of a thumbnail that images are compared by."""

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the image upright (EXIF 2.3, tag 0x0112)."""


class ImageError(Exception):
    """An image that can't be used; the text is a kind, a colon, and what was found."""


@dataclass(frozen=True)
class Limits:
    """What `normalise` accepts and makes."""

    max_side: int = 800
    min_side: int = 32
    max_pixels: float = 100e6
    quality: int = 92


@dataclass(frozen=True)
class Photo:
    """An upright RGB JPEG of `width` x `height` pixels."""

    jpeg: bytes
    width: int
    height: int


def normalise(data: bytes, limits: Limits) -> Photo:
    """Prove that an image decodes, and bring it to an upright RGB JPEG of bounded size.

    The header is checked before a pixel is decoded. A JPEG that needs no change keeps its bytes.

    Raises:
        ImageError: what is wrong with the image.
    """
    image = _open(data, limits)
    turn = _TRANSPOSE.get(_orientation(image))
    shrink = max(image.size) > limits.max_side
    same = image.format == "JPEG" and image.mode == "RGB" and turn is None and not shrink
    if shrink:
        image.draft(image.mode, (limits.max_side, limits.max_side))
    rgb = _rgb(image)
    if same:
        return Photo(data, rgb.width, rgb.height)
    rgb.thumbnail((limits.max_side, limits.max_side), Image.Resampling.LANCZOS)
    upright = rgb if turn is None else rgb.transpose(turn)
    return Photo(_jpeg(upright, limits.quality), upright.width, upright.height)


def decode(jpeg: bytes, max_side: int | None = None) -> NDArray[np.uint8]:
    """[H, W, 3] RGB of an image of the `images` table; at most `max_side` long when given."""
    image = _open(jpeg)
    if max_side:
        image.draft("RGB", (max_side, max_side))
        image = _rgb(image)
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return np.asarray(_rgb(image))


def square(data: bytes, size: int) -> Image.Image:
    """The centre square of an image at `size` x `size`: the input of every model.

    `ImageOps.fit`, after decoding a JPEG at a fraction of its size where that suffices. Hamming's
    filter is as sharp as the bicubic one in reducing, and half its work.
    """
    return _square(_open(data), size)


def model_input(data: bytes, size: int, limits: Limits) -> NDArray[np.uint8]:
    """[size, size, 3]: the upright centre square of any photo, as the models saw it in training.

    The header is checked before a pixel is decoded.

    Raises:
        ImageError: what is wrong with the photo.
    """
    image = _open(data, limits)
    turn = _TRANSPOSE.get(_orientation(image))
    found = _square(image, size)
    return np.asarray(found if turn is None else found.transpose(turn))


def _square(image: Image.Image, size: int) -> Image.Image:
    image.draft("RGB", (size, size))
    reduce = min(image.size) > size
    how = Image.Resampling.HAMMING if reduce else Image.Resampling.BICUBIC
    return ImageOps.fit(_rgb(image), (size, size), how)


def encode(image: Image.Image, quality: int) -> bytes:
    """JPEG bytes without chroma subsampling, so that small images keep their colours."""
    return _jpeg(image, quality, subsampling=0)


class Fingerprint(NamedTuple):
    """What tells whether two images are the same photo; the columns of `schemas.HASHES`."""

    digest: bytes
    phash: int
    thumbnail: bytes


def fingerprint(jpeg: bytes) -> Fingerprint:
    """Hash of the file, 64-bit DCT hash of what it shows (imagehash.phash), and a thumbnail.

    Near-duplicates differ in few bits of the second one. It is made from the thumbnail, and that
    from a JPEG decoded at a fraction of its size: 2 ms instead of 12.
    """
    image = _open(jpeg)
    image.draft("L", (4 * THUMBNAIL, 4 * THUMBNAIL))
    grey = image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    bits = imagehash.phash(grey, highfreq_factor=THUMBNAIL // 8).hash.ravel()
    digest = hashlib.blake2b(jpeg, digest_size=16).digest()
    return Fingerprint(digest, int(np.packbits(bits).view(">u8")[0]), grey.tobytes())


def _open(data: bytes, limits: Limits | None = None) -> Image.Image:
    if not data:
        raise ImageError("empty: 0 bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # a broken header can make a decoder raise anything
        shown = bytes(data[:16])
        raise ImageError(f"not an image: {len(data)} bytes that begin with {shown!r}") from error
    if limits and image.width * image.height > limits.max_pixels:
        raise ImageError(f"too large: {image.width} x {image.height} pixels")
    if limits and min(image.size) < limits.min_side:
        raise ImageError(f"too small: {image.width} x {image.height} pixels")
    return image


def _rgb(image: Image.Image) -> Image.Image:
    """Decode in full, and bring to RGB: 16-bit grey scaled down, transparency on white."""
    try:
        image.load()
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, image).convert("RGB")
        return image if image.mode == "RGB" else image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # a broken body can make a decoder raise anything
        kind = "truncated" if "truncated" in str(error) else "damaged"
        raise ImageError(f"{kind}: {error}") from error


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # EXIF is decoration: an unreadable one leaves the image as it is
        return 1


def _jpeg(image: Image.Image, quality: int, **options: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, **options)
    return out.getvalue()

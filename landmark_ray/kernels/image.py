"""Decoding, normalising and resizing photos with Pillow. Colour is sRGB, arrays are [H, W, 3]."""

import hashlib
import io
from dataclasses import dataclass
from typing import NamedTuple

import imagehash
import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from landmark_ray.kernels import colour

pillow_heif.register_heif_opener()
Image.MAX_IMAGE_PIXELS = None  # `Limits` speaks, which knows the option's name

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
    """What `normalise` and `model_input` accept, and what `normalise` makes.

    Attributes:
        max_side: longest side of a stored image, in pixels.
        min_side: shortest side of a photo, in pixels.
        max_pixels: of a photo, as `decoded_pixels` counts them.
        quality: of a JPEG that is made.
        max_option: what sets `max_pixels`, in millions; for people.
        min_option: what sets `min_side`.
    """

    max_side: int = 800
    min_side: int = 32
    max_pixels: float = 100e6
    quality: int = 92
    max_option: str = "max_megapixels"
    min_option: str = "min_side"

    def check(self, size: tuple[int, int], pixels: float) -> None:
        """Refuse a photo by its header.

        Args:
            size: width and height.
            pixels: that it takes to decode.

        Raises:
            ImageError: it is too large or too small; names the option.
        """
        shown = f"{size[0]} x {size[1]} pixels"
        if pixels > self.max_pixels:
            most = f"{self.max_option} {self.max_pixels / 1e6:g}"
            raise ImageError(f"too large: {shown}, more than {most}")
        if min(size) < self.min_side:
            raise ImageError(f"too small: {shown}, less than {self.min_option} {self.min_side}")


@dataclass(frozen=True)
class Photo:
    """An upright RGB JPEG of `width` x `height` pixels."""

    jpeg: bytes
    width: int
    height: int


def normalise(data: bytes, limits: Limits) -> Photo:
    """Prove that an image decodes, and bring it to an upright sRGB JPEG of bounded size.

    The header is checked before a pixel is decoded. A JPEG that needs no change keeps its bytes.

    Raises:
        ImageError: what is wrong with the image.
    """
    image = _open(data)
    full = image.size
    _bound(image, limits.max_side, limits)
    flat, turn = _load(image, data)
    profile = image.info.get("icc_profile")
    same = image.format == "JPEG" and image.mode == "RGB" and turn is None
    if same and max(full) <= limits.max_side and not colour.differs(profile, "RGB"):
        return Photo(data, *full)
    flat.thumbnail((limits.max_side, limits.max_side), Image.Resampling.LANCZOS)
    upright = _finish(flat, profile, turn)
    return Photo(_jpeg(upright, limits.quality), upright.width, upright.height)


def decode(jpeg: bytes, max_side: int | None = None) -> NDArray[np.uint8]:
    """[H, W, 3] RGB of an image of the `images` table; at most `max_side` long when given."""
    image = _open(jpeg)
    if max_side:
        _bound(image, max_side)
    flat, _ = _load(image, jpeg)
    if max_side:
        flat.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return np.asarray(_finish(flat, image.info.get("icc_profile")))


def square(data: bytes, size: int) -> Image.Image:
    """The centre square of a stored image at `size` x `size`: the input of every model.

    `ImageOps.fit`, after decoding a JPEG at a fraction of its size where that suffices. Hamming's
    filter is as sharp as the bicubic one in reducing, and half its work.
    """
    found, _ = _square(data, size)
    return found


def model_input(data: bytes, size: int, limits: Limits) -> NDArray[np.uint8]:
    """[size, size, 3]: the upright centre square of any photo, as the models saw it in training.

    The header is checked before a pixel is decoded.

    Raises:
        ImageError: what is wrong with the photo.
    """
    found, turn = _square(data, size, limits)
    return np.asarray(found if turn is None else found.transpose(turn))


def _square(
    data: bytes, size: int, limits: Limits | None = None
) -> tuple[Image.Image, Image.Transpose | None]:
    """The centre square, and what makes it upright."""
    image = _open(data)
    _bound(image, size, limits)
    flat, turn = _load(image, data)
    reduce = min(flat.size) > size
    how = Image.Resampling.HAMMING if reduce else Image.Resampling.BICUBIC
    fit = ImageOps.fit(flat, (size, size), how)
    return _finish(fit, image.info.get("icc_profile")), turn


def encode(image: Image.Image, quality: int) -> bytes:
    """JPEG bytes without chroma subsampling, so that small images keep their colours."""
    return _jpeg(image, quality, subsampling=0)


class PerceptualHash(NamedTuple):
    """What tells whether two images are the same photo; the columns of `schemas.HASHES`."""

    digest: bytes
    phash: int
    thumbnail: bytes


def perceptual_hash(jpeg: bytes) -> PerceptualHash:
    """Hash of the file, 64-bit DCT hash of what it shows (imagehash.phash), and a thumbnail.

    Near-duplicates differ in few bits of the second one. It is made from the thumbnail, and that
    from a JPEG decoded at a fraction of its size: 2 ms instead of 12.
    """
    image = _open(jpeg)
    image.draft("L", (4 * THUMBNAIL, 4 * THUMBNAIL))
    grey = image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    bits = imagehash.phash(grey, highfreq_factor=THUMBNAIL // 8).hash.ravel()
    digest = hashlib.blake2b(jpeg, digest_size=16).digest()
    return PerceptualHash(digest, int(np.packbits(bits).view(">u8")[0]), grey.tobytes())


def _open(data: bytes) -> ImageFile:
    if not data:
        raise ImageError("empty: 0 bytes")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except MemoryError:
        raise
    except Exception as error:  # a broken header can make a decoder raise anything
        shown = bytes(data[:16])
        raise ImageError(f"not an image: {len(data)} bytes that begin with {shown!r}") from error


def _bound(image: ImageFile, side: int, limits: Limits | None = None) -> None:
    """Have a JPEG decoded at the least fraction that covers `side` squared; then check limits."""
    full = image.size
    image.draft("RGB", (side, side))
    if limits:
        limits.check(full, decoded_pixels(image, full))


def decoded_pixels(image: ImageFile, full: tuple[int, int]) -> float:
    """What an open image of `full` size takes to decode, in pixels.

    A JPEG at a fraction takes what is left of it. But all its data are read: that is an eighth of
    its pixels at least; and a progressive one is held in memory whole, as 3 to 6 bytes of
    coefficients a pixel where another format's picture takes up to 16: a quarter.
    """
    least = 0.0
    if image.format in ("JPEG", "MPO"):
        least = full[0] * full[1] / (4 if "progressive" in image.info else 8)
    return max(float(image.width * image.height), least)


def _load(image: ImageFile, data: bytes) -> tuple[Image.Image, Image.Transpose | None]:
    """Decode in full: an opaque picture of 8 bits (L, RGB or CMYK), and what makes it upright."""
    try:
        flat = colour.load(image, lambda: _open(data))
    except MemoryError:
        raise
    except colour.UnknownRange as error:
        raise ImageError(f"unknown range: {error}") from None
    except Exception as error:  # a broken body can make a decoder raise anything
        kind = "truncated" if "truncated" in str(error) else "damaged"
        raise ImageError(f"{kind}: {error}") from error
    return flat, _TRANSPOSE.get(_orientation(image))


def _orientation(image: Image.Image) -> int:
    """What is left to turn of a loaded image: TIFF's and HEIF's loaders have turned theirs."""
    if image.format == "AVIF":  # whose own boxes say it, which Pillow shows as EXIF
        image.info.pop("xmp", None)
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # EXIF is decoration: an unreadable one leaves the image as it is
        return 1


def _finish(
    flat: Image.Image, profile: bytes | None, turn: Image.Transpose | None = None
) -> Image.Image:
    """A reduced picture in sRGB, upright, without anything else that its file said."""
    found = colour.to_srgb(flat, profile)
    found = found if turn is None else found.transpose(turn)
    found.info = {}
    return found


def _jpeg(image: Image.Image, quality: int, **options: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, **options)
    return out.getvalue()

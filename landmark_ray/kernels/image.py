"""Decoding, normalising and resizing photos with Pillow. Colour is sRGB, arrays are [H, W, 3]."""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from landmark_ray.kernels import colour

pillow_heif.register_heif_opener()
Image.MAX_IMAGE_PIXELS = None  # `Limits` refuses large images, and names the option

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "HEIF", "AVIF")
"""Formats of photos. Pillow's other decoders are not used: the one of EPS runs a program."""

Fit = Literal["crop", "pad"]
"""How a photo becomes a square, see `square`."""

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> transpose that makes the image upright (EXIF 2.3, tag 0x0112)."""


class ImageError(Exception):
    """An image cannot be used; the text is a kind of problem, a colon, and details."""


@dataclass(frozen=True)
class Limits:
    """The photos that `normalise` and `model_input` accept, and that they make.

    Attributes:
        max_side: Longest side of a stored image, in pixels.
        min_side: Smallest accepted length of the shorter side of a photo, in pixels.
        max_pixels: Largest accepted number of pixels, as `decoded_pixels` counts them.
        quality: JPEG quality of a stored image that had to be encoded.
        fit: How the models' input becomes a square.
        max_option: Name, for error messages, of the option that sets `max_pixels` in millions.
        min_option: Name, for error messages, of the option that sets `min_side`.
    """

    max_side: int = 800
    min_side: int = 32
    max_pixels: float = 100e6
    quality: int = 92
    fit: Fit = "crop"
    max_option: str = "max_megapixels"
    min_option: str = "min_side"

    def check(self, size: tuple[int, int], pixels: float) -> None:
        """Check the size of a photo before it is decoded.

        Args:
            size: Width and height, in pixels.
            pixels: Number of pixels that decoding takes, see `decoded_pixels`.

        Raises:
            ImageError: The photo is too large or too small; the text names the option.
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
    """Decode an image in full, and make an upright sRGB JPEG of bounded size from it.

    The header is checked before any pixel is decoded. A JPEG that needs no change keeps its bytes.

    Args:
        data: The file.
        limits: Limits of the sizes, and the JPEG quality.

    Raises:
        ImageError: The image cannot be used; the text says why.
    """
    image = open_image(data)
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


def decode(
    data: bytes, max_side: int | None = None, limits: Limits | None = None
) -> NDArray[np.uint8]:
    """Decode an image of the table `images`, or any photo, upright.

    Args:
        data: The file.
        max_side: The image is reduced to this longest side, in pixels, if it is given.
        limits: Limits of the size of a photo, which are checked before any pixel is decoded.

    Returns:
        [H, W, 3] uint8 RGB.

    Raises:
        ImageError: The image is damaged, or beyond the limits.
    """
    image = open_image(data)
    _bound(image, max_side or max(image.size), limits)
    flat, turn = _load(image, data)
    if max_side:
        flat.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return np.asarray(_finish(flat, image.info.get("icc_profile"), turn))


def square(data: bytes, size: int, fit: Fit = "crop") -> NDArray[np.uint8]:
    """Make the input of every model from a stored image: a square of `size` x `size` pixels.

    With `crop`, it is the centre of the image. With `pad`, it is all of it, continued by its mirror
    images: bars of one colour would be edges that no scene has. A JPEG is decoded at a fraction of
    its size if that suffices. The Hamming filter reduces as sharply as the bicubic one, in half the
    time. The result is [size, size, 3] uint8 RGB.

    Raises:
        ImageError: The image is damaged.
    """
    picture, _ = _resized(data, size, fit)
    return _padded(np.asarray(picture), size)


def model_input(data: bytes, size: int, limits: Limits) -> NDArray[np.uint8]:
    """Make the input of the models from any photo: its upright `square`, as in training.

    The header is checked before any pixel is decoded.

    Returns:
        [size, size, 3] uint8 RGB.

    Raises:
        ImageError: The photo cannot be used; the text says why.
    """
    picture, turn = _resized(data, size, limits.fit, limits)
    return _padded(np.asarray(picture if turn is None else picture.transpose(turn)), size)


def _resized(
    data: bytes, size: int, fit: Fit, limits: Limits | None = None
) -> tuple[Image.Image, Image.Transpose | None]:
    """Return the part of the square that shows the photo, and the transpose to upright, or None."""
    image = open_image(data)
    _bound(image, size, limits)
    flat, turn = _load(image, data)
    reduce = (max if fit == "pad" else min)(flat.size) > size
    how = Image.Resampling.HAMMING if reduce else Image.Resampling.BICUBIC
    if fit == "pad":  # unlike `ImageOps.contain`, at least one pixel of a thin photo stays
        made = flat.resize([max(round(n / max(flat.size) * size), 1) for n in flat.size], how)
    else:
        made = ImageOps.fit(flat, (size, size), how)
    return _finish(made, image.info.get("icc_profile")), turn


def _padded(photo: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Continue a photo [H, W, 3] to a square by its mirror images, half on either side."""
    ends = [((size - n) // 2, (size - n + 1) // 2) for n in photo.shape[:2]]
    return np.pad(photo, [*ends, (0, 0)], mode="symmetric") if np.any(ends) else photo


def encode(image: Image.Image, quality: int) -> bytes:
    """Encode a JPEG without chroma subsampling, so that small images keep their colours."""
    return _jpeg(image, quality, subsampling=0)


def thumbnail(data: bytes, side: int) -> bytes:
    """Make a JPEG of an image, reduced to a longest side of `side` pixels."""
    return encode(Image.fromarray(decode(data, side)), 75)


def open_image(data: bytes) -> ImageFile:
    """Read the header of an image file.

    Raises:
        ImageError: It is none of the `FORMATS`.
    """
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
    """Let a JPEG be decoded at the smallest fraction that covers `side` squared; check limits."""
    full = image.size
    image.draft("RGB", (side, side))
    if limits:
        limits.check(full, decoded_pixels(image, full))


def decoded_pixels(image: ImageFile, full: tuple[int, int]) -> float:
    """Return the cost of decoding an open image, as a number of pixels.

    A JPEG that is decoded at a fraction of its size counts with the pixels of that fraction. But
    all of its data are read, so it counts with at least an eighth of its pixels. A progressive JPEG
    is held in memory as a whole, with 3 to 6 bytes of coefficients for each pixel, while pictures
    of other formats take up to 16 bytes: it counts with at least a quarter of its pixels.

    Args:
        image: The image; for a JPEG, its size is the fraction that will be decoded.
        full: Width and height of the whole image, in pixels.
    """
    minimum = 0.0
    if image.format in ("JPEG", "MPO"):
        minimum = full[0] * full[1] / (4 if "progressive" in image.info else 8)
    return max(float(image.width * image.height), minimum)


def _load(image: ImageFile, data: bytes) -> tuple[Image.Image, Image.Transpose | None]:
    """Decode in full to opaque 8-bit L, RGB or CMYK; return the transpose to upright, too."""
    try:
        flat = colour.load(image, lambda: open_image(data))
    except MemoryError:
        raise
    except colour.UnknownRange as error:
        raise ImageError(f"unknown range: {error}") from None
    except Exception as error:  # a broken body can make a decoder raise anything
        kind = "truncated" if "truncated" in str(error) else "damaged"
        raise ImageError(f"{kind}: {error}") from error
    return flat, _TRANSPOSE.get(_orientation(image))


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that is left to apply: loaders of TIFF and HEIF apply theirs."""
    if image.format == "AVIF":  # Pillow shows the orientation in AVIF's own boxes as EXIF
        image.info.pop("xmp", None)
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # an image with unreadable EXIF is used as it is
        return 1


def _finish(
    flat: Image.Image, profile: bytes | None, turn: Image.Transpose | None = None
) -> Image.Image:
    """Convert a reduced picture to sRGB, turn it upright, and drop all metadata."""
    picture = colour.to_srgb(flat, profile)
    picture = picture if turn is None else picture.transpose(turn)
    picture.info = {}
    return picture


def _jpeg(image: Image.Image, quality: int, **options: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, **options)
    return out.getvalue()

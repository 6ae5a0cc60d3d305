"""Conversion of any picture to 8 bits of sRGB: deep greys and colours, transparency, profiles.

Grey and colour values with more than 8 bits are scaled by one rule (`to_8_bits`) or refused. A
picture whose white is not known is refused, and never shown black.
"""

import functools
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ImageFile import ImageFile

WHITES = (1.0, 2**8 - 1, 2**10 - 1, 2**12 - 1, 2**14 - 1, 2**16 - 1, 2**31 - 1, 2**32 - 1)
"""Values that can mean white: 1 (floats only), or the largest value of 8, 10, 12, 14, 16, 31 or 32
bits, however many bits the file stores."""

MIN_BRIGHTNESS = 1 / 8
"""Share of white that the brightest value must reach, or else the range is another one."""

OVERSHOOT = 0.05
"""Share of white by which floats may lie below 0 or above white, as resampling makes them."""

SRGB_TOLERANCE = 3
"""Largest difference of 8-bit levels between a profile and sRGB that counts as equal. Most embedded
profiles describe sRGB in a slightly different form."""

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))

_LOW_BYTES = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B"}
"""Raw mode of 16-bit colours -> raw mode with the bytes swapped. Pillow keeps only the high bytes,
so the second one makes it keep the low bytes."""


class UnknownRange(ValueError):
    """The value of white cannot be determined; the text says which values were found."""


def to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale grey or colour values so that white is 255.

    White is the smallest of `WHITES` that no value exceeds, because cameras, scanners and programs
    store 0 to 1 in floats, or 0 to 255, or 10, 12, 14, 16 or 32 bits. NaN becomes black.

    Args:
        values: [...] of any integer or float type.

    Returns:
        [...] uint8.

    Raises:
        UnknownRange: Values are negative, infinite or between the ranges, or all values are below
            an eighth of white, which is too dark for a photo of that range.
    """
    real = values.dtype.kind == "f"
    shown = np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf) if real else values
    low, high = (float(edge) for edge in (shown.min(), shown.max()))
    slack = OVERSHOOT if real else 0.0
    white = next((w for w in WHITES[0 if real else 1 :] if high <= w * (1 + slack)), np.inf)
    if np.isinf(white) or low < -slack * white or (high and high < MIN_BRIGHTNESS * white):
        kind = "floats" if real else "integers"
        raise UnknownRange(
            f"{kind} from {low:.4g} to {high:.4g}; 0 to 1 (floats), 0 to 255 or 10, 12, 14, 16 or "
            "32 bits in use are known: scale it to 8 bits a colour"
        )
    if values.dtype == np.uint16:
        table = np.arange(2**16) * (255 / white) + 0.5
        return np.asarray(np.minimum(table, 255).astype(np.uint8)[values])
    return np.asarray((shown * np.float32(255 / white) + 0.5).clip(0, 255).astype(np.uint8))


def load(image: ImageFile, reopen: Callable[[], ImageFile]) -> Image.Image:
    """Decode a picture in full to opaque 8-bit L, RGB or CMYK; transparency becomes white.

    Args:
        image: The picture as Pillow opens it.
        reopen: Opens the same picture again, to read the low bytes of 16-bit colours.

    Raises:
        UnknownRange: See `to_8_bits`.
    """
    raw = _raw_mode(image)
    image.load()
    if raw[-4:] in _LOW_BYTES and len(image.getbands()) > 1:
        deep = _both_bytes(image, raw, reopen)
    elif image.mode.startswith("I") or image.mode == "F":
        deep = _grey_values(image)
    else:
        return _opaque(_with_palette(image))
    alpha = deep[..., 3] if image.mode == "RGBA" else None
    colours = to_8_bits(deep if alpha is None else deep[..., :3])
    if _tag(image, 262) == 0:  # WhiteIsZero, which Pillow applies only to 8 bits and fewer
        colours = 255 - colours
    clear = image.info.pop("transparency", None)
    if clear is not None:
        colours[deep == clear if deep.ndim == 2 else (deep == clear).all(-1)] = 255
    if alpha is not None:
        colours = np.dstack([colours, to_8_bits(alpha)])
    mode = image.mode if deep.ndim == 3 else "L"
    return _opaque(Image.frombytes(mode, image.size, colours.tobytes()))


def _raw_mode(image: ImageFile) -> str:
    """Return Pillow's name for the packing of a file's pixels."""
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) and args else args or "")


def _tag(image: Image.Image, number: int) -> Any:
    """Return a tag of a TIFF, or None if there is none."""
    return image.tag_v2.get(number) if hasattr(image, "tag_v2") else None


def _grey_values(image: Image.Image) -> NDArray[Any]:
    """Return the values [H, W] of a grey picture with more than 8 bits."""
    values = np.asarray(image)
    unsigned = image.mode == "I" and _tag(image, 258) == (32,) and _tag(image, 339) in (None, (1,))
    return values.view(np.uint32) if unsigned else values


def _both_bytes(image: ImageFile, raw: str, reopen: Callable[[], ImageFile]) -> NDArray[np.uint16]:
    """Return the values [H, W, C] of 16-bit colours, of which Pillow decodes one byte at a time."""
    if raw.startswith("LA"):
        raise UnknownRange("16-bit grey with transparency: scale it to 8 bits")
    swapped = raw[:-4] + _LOW_BYTES[raw[-4:]]
    again = reopen()
    again.tile = [
        tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped)
        for tile in again.tile
    ]
    again.load()
    return np.asarray(image).astype(np.uint16) << 8 | np.asarray(again)


def _with_palette(image: Image.Image) -> Image.Image:
    """Repair a TIFF's palette with 8 bits in place of 16, which Pillow would show black."""
    palette = _tag(image, 320)
    if image.mode == "P" and palette and 0 < max(palette) < 256:
        image.putpalette(np.reshape(palette, (3, -1)).T.astype(np.uint8).tobytes())
    return image


def _opaque(image: Image.Image) -> Image.Image:
    """Convert an 8-bit picture of any mode to L, RGB or CMYK, on white."""
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode == "LAB":  # the mode is a colour space already, so the profile adds nothing
        image.info.pop("icc_profile", None)
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an L, RGB or CMYK picture to sRGB, using its embedded profile if that differs."""
    change = transform(profile, image.mode) if profile else None
    if change is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    return change.apply(image)


def differs(profile: bytes | None, mode: str) -> bool:
    """Return whether a profile gives a picture other colours than sRGB does."""
    return bool(profile) and transform(profile, mode) is not None


@functools.lru_cache(maxsize=16)
def transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB.

    It is None if there is nothing to do: if the profile is practically sRGB, is damaged, or belongs
    to another mode.
    """
    try:
        change = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)), _SRGB, mode, "RGB"
        )
        probe = _probe(mode)
        plain = np.asarray(probe.convert("RGB"), int)
        corrected = np.asarray(change.apply(probe), int)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return change if np.abs(corrected - plain).max() > SRGB_TOLERANCE else None


def _probe(mode: str) -> Image.Image:
    """Return a picture [N, 1] of colours from the whole space of a mode."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    levels = np.linspace(0, 255, 256 if bands == 1 else 6).astype(np.uint8)
    grid = np.stack(np.meshgrid(*bands * [levels], indexing="ij"), -1).reshape(-1, bands)
    return Image.frombytes(mode, (1, len(grid)), grid.tobytes())

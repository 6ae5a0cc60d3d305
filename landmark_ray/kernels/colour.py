"""Whatever a photo's file holds, as 8 bits of sRGB: greys of any range, transparency, profiles.

Grey and colour values of more than 8 bits are scaled by one rule (`to_8_bits`), or refused: they
are never shown black for want of knowing what is white.
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
"""What may stand for white: 1 in floats only; 8, 10, 12, 14, 16 bits, whatever holds them."""

DARKEST = 1 / 8
"""Of white: a picture without anything brighter has another range, or shows nothing."""

OVERSHOOT = 0.05
"""Of white: floats that were resampled pass 0 and white by so much."""

SAME = 3
"""Levels by which a profile may differ from sRGB, which most embedded ones name in other words."""

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))

_LOW_BYTES = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B"}
"""Pillow keeps the high bytes of 16-bit colours: the order that makes it keep the low ones."""


class UnknownRange(ValueError):
    """Nobody can say which value is white; the text says what was found."""


def to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale grey or colour values so that white is 255.

    White is the least of `WHITES` that no value passes, since that is how cameras, scanners and
    programs store them: 0 to 1 in floats; else 0 to 255, or 10, 12, 14, 16, 32 bits. NaN is black.

    Args:
        values: [...] of any integer or float type.

    Raises:
        UnknownRange: values are negative or infinite, lie between the ranges, or are all below an
            eighth of white: too dark to be meant so.
    """
    real = values.dtype.kind == "f"
    shown = np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf) if real else values
    low, high = (float(edge) for edge in (shown.min(), shown.max()))
    slack = OVERSHOOT if real else 0.0
    white = next((w for w in WHITES[0 if real else 1 :] if high <= w * (1 + slack)), np.inf)
    if np.isinf(white) or low < -slack * white or (high and high < DARKEST * white):
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
    """Decode in full: an opaque 8-bit picture, L, RGB or CMYK; transparency is shown on white.

    Args:
        image: as Pillow opens it.
        reopen: opens it once more, for the low bytes of colours.

    Raises:
        UnknownRange: of `to_8_bits`.
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
    if _tag(image, 262) == 0:  # WhiteIsZero, which Pillow heeds in fewer bits only
        colours = 255 - colours
    clear = image.info.pop("transparency", None)
    if clear is not None:
        colours[deep == clear if deep.ndim == 2 else (deep == clear).all(-1)] = 255
    if alpha is not None:
        colours = np.dstack([colours, to_8_bits(alpha)])
    mode = image.mode if deep.ndim == 3 else "L"
    return _opaque(Image.frombytes(mode, image.size, colours.tobytes()))


def _raw_mode(image: ImageFile) -> str:
    """How a file's pixels are packed, by Pillow's name."""
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) and args else args or "")


def _tag(image: Image.Image, number: int) -> Any:
    """A tag of a TIFF; None where there is none."""
    return image.tag_v2.get(number) if hasattr(image, "tag_v2") else None


def _grey_values(image: Image.Image) -> NDArray[Any]:
    """[H, W] values of a deep grey."""
    values = np.asarray(image)
    unsigned = image.mode == "I" and _tag(image, 258) == (32,) and _tag(image, 339) in (None, (1,))
    return values.view(np.uint32) if unsigned else values


def _both_bytes(image: ImageFile, raw: str, reopen: Callable[[], ImageFile]) -> NDArray[np.uint16]:
    """[H, W, C] values of 16-bit colours, of which Pillow gives a byte at a time."""
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
    """A TIFF's palette has 16 bits; some programs store 8, which Pillow shows black."""
    palette = _tag(image, 320)
    if image.mode == "P" and palette and 0 < max(palette) < 256:
        image.putpalette(np.reshape(palette, (3, -1)).T.astype(np.uint8).tobytes())
    return image


def _opaque(image: Image.Image) -> Image.Image:
    """An 8-bit picture of any mode as L, RGB or CMYK."""
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode == "LAB":  # of itself a colour space: its profile says nothing new
        image.info.pop("icc_profile", None)
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An L, RGB or CMYK picture in sRGB, by its embedded profile where that says otherwise."""
    change = transform(profile, image.mode) if profile else None
    if change is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    return change.apply(image)


def differs(profile: bytes | None, mode: str) -> bool:
    """Whether a picture's values mean other colours than sRGB's."""
    return bool(profile) and transform(profile, mode) is not None


@functools.lru_cache(maxsize=16)
def transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What brings pictures with a profile to sRGB.

    None where there is nothing to do: the profile is as good as sRGB, is damaged, or belongs to
    pictures of another mode.
    """
    try:
        change = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)), _SRGB, mode, "RGB"
        )
        probe = _probe(mode)
        seen, meant = np.asarray(probe.convert("RGB"), int), np.asarray(change.apply(probe), int)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return change if np.abs(meant - seen).max() > SAME else None


def _probe(mode: str) -> Image.Image:
    """Colours all over a mode's space, one a row."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    levels = np.linspace(0, 255, 256 if bands == 1 else 6).astype(np.uint8)
    grid = np.stack(np.meshgrid(*bands * [levels], indexing="ij"), -1).reshape(-1, bands)
    return Image.frombytes(mode, (1, len(grid)), grid.tobytes())

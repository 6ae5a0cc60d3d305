"""Pencils and paints of the drawn dataset: outlines, textures, and the sheets buildings stand on.

Colours are RGB, 0-255; lengths are pixels; all chance comes from the generators handed in.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Rng = np.random.Generator

SIDE = 1000
"""Side of a building's planes, in pixels; the ground is their lower edge."""


def rgb(code: str) -> Floats:
    """Turn a colour such as "d8b878" into its three channels."""
    return np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)], np.float32)


def to_image(values: ArrayLike) -> Image:
    """Round and clip to 0-255."""
    return np.asarray(np.clip(values, 0, 255), np.uint8)


def clouds(rng: Rng, height: int, width: int, finest: int = 250) -> Floats:
    """Draw mottle about 0, with patches from a fifth of the plane's side down to `finest`."""
    total = np.zeros((height, width), np.float32)
    cells, strength = 5, 0.5
    while cells <= finest:
        rows = max(2, round(cells * height / width))
        coarse = rng.standard_normal((rows, cells), dtype=np.float32)
        total += strength * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        cells, strength = cells * 7 // 2, strength * 0.8
    return total


def masonry(rng: Rng, colour: Floats, course: int, length: int, spread: float) -> Image:
    """Lay a plane of stones of about `length` x `course` px, every one of its own tint."""
    tone = np.empty((SIDE, SIDE), np.float32)
    y = 0
    while y < SIDE:
        row = slice(y, y + int(course * rng.uniform(0.8, 1.25)))
        lengths = rng.integers(length // 2, length * 3 // 2 + 1, 2 * SIDE // length + 2)
        ends = np.cumsum(lengths)
        tone[row] = np.repeat(rng.normal(0, spread, lengths.size), lengths)[:SIDE]
        tone[row, ends[ends < SIDE]] -= 0.25
        tone[row.start] -= 0.25
        y = row.stop
    tone += 0.16 * clouds(rng, SIDE, SIDE)
    hue = cv2.resize(rng.normal(0, 9, (12, 12, 3)).astype(np.float32), (SIDE, SIDE))
    return to_image(colour * (1 + tone[..., None]) + hue)


def box(x: float, y: float, width: float, height: float) -> Floats:
    """Corners of an upright rectangle, (4, 2), from its upper left corner."""
    right, low = x + width, y + height
    return np.array([(x, y), (right, y), (right, low), (x, low)], np.float32)


def disc(x: float, y: float, across: float, up: float | None = None) -> Floats:
    """Outline of an ellipse, (40, 2), from its centre and half axes."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    half = across if up is None else up
    return np.stack([x + across * np.cos(turn), y + half * np.sin(turn)], 1).astype(np.float32)


def arch(x: float, y: float, width: float, height: float) -> Floats:
    """Outline of a round-headed opening, (18, 2), in the box whose upper left corner is (x, y)."""
    turn = np.linspace(np.pi, 2 * np.pi, 16)
    radius = min(width / 2, height)
    head = np.stack([x + width / 2 * (1 + np.cos(turn)), y + radius * (1 + np.sin(turn))], 1)
    return np.vstack([head, [(x + width, y + height), (x, y + height)]]).astype(np.float32)


def blob(rng: Rng, x: float, y: float, radius: float) -> Floats:
    """Outline of an uneven round patch, (14, 2)."""
    turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    reach = radius * rng.uniform(0.6, 1.25, 14)
    return np.stack([x + reach * np.cos(turn), y + reach * np.sin(turn)], 1).astype(np.float32)


class Sheet:
    """One upright plane of a building while it is drawn.

    Attributes:
        colour: (SIDE, SIDE, 3).
        cover: (SIDE, SIDE), 255 where the building is and 0 where one looks past it.
        glow: (SIDE, SIDE), how brightly lamps light a pixel after dark.
    """

    def __init__(self) -> None:
        """Start with an empty plane."""
        self.colour: Image = np.zeros((SIDE, SIDE, 3), np.uint8)
        self.cover: Image = np.zeros((SIDE, SIDE), np.uint8)
        self.glow: Image = np.zeros((SIDE, SIDE), np.uint8)

    def fill(
        self, outline: Floats, source: ArrayLike, shade: float = 1.0, round: bool = False
    ) -> None:
        """Fill an outline with a plane of masonry, (SIDE, SIDE, 3), or with one colour, (3,)."""
        x, y, width, height = cv2.boundingRect(np.round(outline).astype(np.int32))
        left, top = max(x, 0), max(y, 0)
        window = slice(top, min(y + height, SIDE)), slice(left, min(x + width, SIDE))
        mask: Image = np.zeros(self.cover[window].shape, np.uint8)
        if not mask.size:
            return
        cv2.fillPoly(mask, [np.round((outline - (left, top)) * 8).astype(np.int32)], 255, shift=3)
        flat = np.asarray(source)
        ink: Floats = (flat[window] if flat.ndim == 3 else flat).astype(np.float32)
        if round:
            across = np.linspace(-1, 1, width)[left - x :][: mask.shape[1]].reshape((1, -1, 1))
            ink = ink * (1.08 - 0.5 * (across + 0.25) ** 2)
        inside = mask > 0
        tinted = np.broadcast_to(to_image(ink * shade), (*mask.shape, 3))
        self.colour[window][inside] = tinted[inside]
        self.cover[window][inside] = 255
        self.glow[window][inside] = 0

    def light(self, outline: Floats, strength: int) -> None:
        """Put a lamp of a strength up to 255 behind an outline."""
        cv2.fillPoly(self.glow, [np.round(outline).astype(np.int32)], int(strength))

    def cut(self, outline: Floats) -> None:
        """Take an outline away, so that one looks through it."""
        cv2.fillPoly(self.cover, [np.round(outline).astype(np.int32)], 0)

    def picture(self) -> Image:
        """Join colour and cover, (SIDE, SIDE, 4)."""
        return np.dstack([self.colour, self.cover])

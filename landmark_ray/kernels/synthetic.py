"""Images of nothing: single colours, gradients and noise, from which models learn what isn't there.

No photo collection holds them, so a model without them names a landmark on a black picture.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LABEL = -2
"""In tables, in place of a landmark's id: the image was drawn, nobody took it."""

Pixels = NDArray[np.float64]

BLACK, WHITE = 0.0, 255.0


def draw(number: int, size: int, seed: int) -> NDArray[np.uint8]:
    """An image of nothing, [size, size, 3] RGB; the kinds take turns with its number."""
    rng = np.random.default_rng([seed, number])
    turn, kind = divmod(number, len(KINDS))
    return np.asarray(KINDS[kind](turn, size, rng).clip(0, 255).round(), np.uint8)


def solid(turn: int, size: int, rng: np.random.Generator) -> Pixels:
    """One colour: black, white, a grey, any other, and again."""
    colours = (BLACK, WHITE, rng.uniform(0, 255), rng.uniform(0, 255, 3))
    return np.broadcast_to(colours[turn % len(colours)], (size, size, 3))


def gradient(turn: int, size: int, rng: np.random.Generator) -> Pixels:
    """From one colour to another, along a line or away from a point."""
    rows, columns = np.mgrid[:size, :size] / size
    y, x = rng.uniform(0, 1, 2)
    angle = rng.uniform(0, 2 * np.pi)
    line = rows * np.sin(angle) + columns * np.cos(angle)
    way = np.hypot(rows - y, columns - x) if turn % 2 else line
    share = ((way - way.min()) / np.ptp(way))[..., None]
    colours = rng.uniform(0, 255, (2, 3 if turn % 4 < 2 else 1))
    return np.broadcast_to(share * colours[0] + (1 - share) * colours[1], (size, size, 3))


def noise(turn: int, size: int, rng: np.random.Generator) -> Pixels:
    """Random grains around a colour, as small as a pixel or as large as an eighth of the image."""
    grains = max(round(size / 2 ** rng.uniform(0, np.log2(size / 8))), 2)
    shape = (grains, grains, 3 if turn % 2 else 1)
    drawn = rng.uniform(-1.7, 1.7, shape) if turn % 4 < 2 else rng.normal(0, 1, shape)
    sharp = Image.Resampling.NEAREST if turn % 8 < 4 else Image.Resampling.BICUBIC
    planes = [
        np.asarray(Image.fromarray(plane.astype(np.float32)).resize((size, size), sharp))
        for plane in np.moveaxis(drawn, -1, 0)
    ]
    colour = rng.uniform(0, 255, 3)
    return np.asarray(colour + 2 ** rng.uniform(2, 7) * np.stack(planes, -1))


def salt_and_pepper(turn: int, size: int, rng: np.random.Generator) -> Pixels:
    """Black and white dots on one colour."""
    canvas = np.array(solid(turn + 2, size, rng))
    dots = rng.random((size, size))
    share = rng.uniform(0.01, 0.5)
    canvas[dots < share / 2] = BLACK
    canvas[dots > 1 - share / 2] = WHITE
    return canvas


KINDS: tuple[Callable[[int, int, np.random.Generator], Pixels], ...] = (
    solid,
    gradient,
    noise,
    salt_and_pepper,
)

"""Synthetic images without content: single colours, gradients and noise.

No photo collection holds such images, so a model that was trained without them names a landmark for
a black picture.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LABEL = -2
"""Stands in tables in place of a landmark id, for images that were drawn and are no photos."""

Pixels = NDArray[np.float64]

BLACK, WHITE = 0.0, 255.0


def draw(number: int, size: int, seed: int) -> NDArray[np.uint8]:
    """Draw an image [size, size, 3] uint8 RGB; the kinds take turns with its number."""
    rng = np.random.default_rng([seed, number])
    turn, kind = divmod(number, len(KINDS))
    return np.asarray(KINDS[kind](turn, size, rng).clip(0, 255).round(), np.uint8)


def solid(turn: int, size: int, rng: np.random.Generator) -> Pixels:
    """Draw one colour: by turns black, white, a grey, and any colour."""
    colours = (BLACK, WHITE, rng.uniform(0, 255), rng.uniform(0, 255, 3))
    return np.broadcast_to(colours[turn % len(colours)], (size, size, 3))


def gradient(turn: int, size: int, rng: np.random.Generator) -> Pixels:
    """Draw a gradient from one colour to another, along a line or around a point."""
    rows, columns = np.mgrid[:size, :size] / size
    y, x = rng.uniform(0, 1, 2)
    angle = rng.uniform(0, 2 * np.pi)
    line = rows * np.sin(angle) + columns * np.cos(angle)
    distance = np.hypot(rows - y, columns - x) if turn % 2 else line
    share = ((distance - distance.min()) / np.ptp(distance))[..., None]
    colours = rng.uniform(0, 255, (2, 3 if turn % 4 < 2 else 1))
    return np.broadcast_to(share * colours[0] + (1 - share) * colours[1], (size, size, 3))


def noise(turn: int, size: int, rng: np.random.Generator) -> Pixels:
    """Draw random grains around a colour, from a pixel to an eighth of the image in size."""
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
    """Draw black and white dots on one colour."""
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

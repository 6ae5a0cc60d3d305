"""Batches of photos of like proportions (aspect ratios), of which a network sees no border.

The winners of Google Landmark Recognition 2020 train on such batches (Jeon, first place; Ha et al.,
third place). `kernels/image.py` makes squares that hold all of a photo, continued by its mirror
image. Here, each photo has the most similar of a few rectangles, whose longer side is that of the
square: it shows the photo at the scale at which the network sees it afterwards, in fewer pixels.
"""

import numpy as np
from numpy.typing import NDArray

PROPORTIONS = ((2, 3), (3, 4), (1, 1), (4, 3), (3, 2))
"""Width to height, rising: what cameras make, as near to each other as is worth a shape of its own.
A further one would divide photos into smaller heaps, of which more is left over."""

SQUARE = PROPORTIONS.index((1, 1))

BATCHES = 16
"""Least number of batches that photos are arranged into together, so that little is left over."""


def nearest(width: NDArray[np.integer], height: NDArray[np.integer]) -> NDArray[np.int8]:
    """Return the place in `PROPORTIONS` of the most similar ones [N], by the ratio of the ratios.

    Args:
        width: [N] width of each photo, in any unit.
        height: [N] height of each, in the same unit.
    """
    ratios = np.log([wide / high for wide, high in PROPORTIONS])
    own = np.log(np.asarray(width, np.float64) / height)
    return np.abs(own[:, None] - ratios).argmin(axis=1).astype(np.int8)


def rectangles(size: int) -> NDArray[np.int64]:
    """Return the height and width [P, 2] of each of `PROPORTIONS` in a square of `size` pixels."""
    sides = [(min(high / wide, 1), min(wide / high, 1)) for wide, high in PROPORTIONS]
    return np.rint(np.array(sides) * size).astype(np.int64)


def cut(squares: NDArray[np.uint8], proportion: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Show the photos of a batch in the smallest rectangle that holds those of all of them.

    Of photos of the same proportions it is theirs; of a tall and a wide photo, it is the square.

    Args:
        squares: [B, S, S, 3] padded photos of `image.square`.
        proportion: [B] place of each in `PROPORTIONS`.

    Returns:
        [B, H, W, 3], a view of the middle of the squares.
    """
    size = squares.shape[1]
    high, wide = rectangles(size)[proportion].max(axis=0)
    top, left = (size - high) // 2, (size - wide) // 2
    return squares[:, top : top + high, left : left + wide]


def window_of(batch: int, least: int) -> int:
    """Return the number of photos, in whole batches, that are arranged together.

    Args:
        batch: Photos in a batch.
        least: The smallest number of photos to arrange together, if batches are small.
    """
    return max(least // batch, BATCHES) * batch


def arranged(
    proportion: NDArray[np.integer], batch: int, window: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Arrange the photos of an epoch so that those of a batch have like proportions.

    In each window, the tall photos become batches in the order of their proportions, and so do the
    wide ones, the most elongated first. Those of both that are left over, less than a batch each,
    join the square ones. The batches of a window are shuffled.

    Args:
        proportion: [N] place of each photo in `PROPORTIONS`, in a random order.
        batch: Photos in a batch.
        window: Photos to arrange together, in whole batches.
        rng: Shuffles the batches.

    Returns:
        The places [N] of all photos in their new order; those beyond the last batch stay last.
    """
    whole = len(proportion) // batch * batch
    order: list[NDArray[np.int64]] = []
    for first in range(0, whole, window):
        places = np.arange(first, min(first + window, whole))
        own = proportion[places]
        far = np.argsort(-np.abs(own - SQUARE), kind="stable")
        heaps = [far[own[far] < SQUARE], far[own[far] > SQUARE]]
        heaps = [heap[: len(heap) // batch * batch] for heap in heaps]
        rest = np.setdiff1d(np.arange(len(places)), np.concatenate(heaps))
        batches = np.concatenate([*heaps, rest]).reshape(-1, batch)
        order.append(places[rng.permutation(batches)].ravel())
    return np.concatenate([*order, np.arange(whole, len(proportion))])

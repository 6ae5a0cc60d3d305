"""The batches of a head's training: their size, and which vectors each has."""

import numpy as np
from numpy.typing import NDArray

SMALLEST_BATCH, LARGEST_BATCH = 64, 4096
STEPS = 64
"""Steps that an epoch has at least, if that leaves a batch of SMALLEST_BATCH vectors."""

PADDING = 4
"""Vectors and steps are filled up to the next of this many sizes between two powers of two, so that
heads of similar size have loops of equal shapes."""


def batch_size(vectors: int) -> int:
    """Return the number of vectors in a batch: a power of two that leaves an epoch STEPS steps."""
    wanted = 2 ** int(np.log2(max(vectors / STEPS, 1)))
    return min(max(wanted, SMALLEST_BATCH), LARGEST_BATCH)


def rate_of(rate: float, batch: int) -> float:
    """Return the learning rate of a batch: `rate` is that of 64, and Adam's grows with the root.

    Source: Malladi et al. 2022, On the SDEs and Scaling Rules for Adaptive Gradient Algorithms.
    """
    return float(rate * np.sqrt(batch / SMALLEST_BATCH))


def padded(number: int) -> int:
    """Return the next size that PADDING allows."""
    step = max(2 ** int(np.log2(max(number - 1, 1))) // PADDING, 1)
    return -(-number // step) * step


def batches_of(order: NDArray[np.int64], steps: int, batch: int) -> NDArray[np.int32]:
    """Cut an order [N] into batches of nearly equal size.

    A last batch that is much smaller than the others would disturb the training.

    Args:
        order: [N] numbers of the vectors.
        steps: Number of batches.
        batch: Largest size of a batch.

    Returns:
        [padded(steps), batch] numbers, -1 where a batch has no more, and in further rows.
    """
    rows = np.full((padded(steps), batch), -1, np.int32)
    for number, part in enumerate(np.array_split(order, steps)):
        rows[number, : len(part)] = part
    return rows

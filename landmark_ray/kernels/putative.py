"""Putative matches of two images: each descriptor with its nearest one of the other image.

The products of all descriptors are never held at once: each block of them is read while it is in
the processor's cache. Numba compiles the loops when they are first needed, which takes about a
second, and keeps the result for other processes where it can write.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.features import UNIT
from landmark_ray.kernels.integer_matmul import product_blocks

LOWEST = np.int32(np.iinfo(np.int32).min)
"""A number below every product of two descriptors."""

HIGHEST = np.int32(np.iinfo(np.int32).max)
"""A number above every product of two descriptors."""


def putative_matches(
    a: NDArray[np.int8],
    b: NDArray[np.int8],
    *,
    max_distance: float,
    ratio: float,
    mutual: bool,
) -> NDArray[np.int32]:
    """Match each descriptor of `a` with its nearest one of `b`, by Euclidean distance.

    Args:
        a: [N, D] as `features.quantise` makes them.
        b: [M, D], likewise.
        max_distance: Largest distance of a match, for descriptors of length 1; 2 lets all pass.
        ratio: Largest ratio of the nearest and second-nearest distance; 1 lets all pass, and so
            does M = 1.
        mutual: Keep a match only if its row of `a` is also the nearest to its row of `b`.

    Returns:
        [K, 2] int32 rows of `a` and `b`, in the order of `a`. Of equally near descriptors, the
        first is taken. All numbers are integers, so equal arguments give equal matches on every
        machine.
    """
    if not len(a) or not len(b):
        return np.zeros((0, 2), np.int32)
    reduce_block, select = _compiled()
    nearest, largest, second = np.full((3, len(a)), LOWEST)
    largest_of_b = np.full(len(b), LOWEST)
    for start, products in product_blocks(a, b):
        rows = slice(start, start + len(products))
        reduce_block(products, ratio < 1, nearest[rows], largest[rows], second[rows], largest_of_b)
    max_square, ratio_square = float(max_distance**2 * UNIT**2), float(ratio**2)
    matches = np.empty((len(a), 2), np.int32)
    k = select(nearest, largest, second, largest_of_b, max_square, ratio_square, mutual, matches)
    return matches[:k].copy()


@functools.cache
def _compiled() -> tuple[Any, Any]:
    """Return the two loops, which Numba compiles at their first calls."""
    import numba  # takes a third of a second, and few processes need it

    def compiled(loop: Callable[..., Any]) -> Any:
        try:
            return numba.njit(nogil=True, cache=True)(loop)
        except RuntimeError:  # there is no folder to keep it in
            return numba.njit(nogil=True)(loop)

    return compiled(_reduce_block), compiled(_select)


def _reduce_block(
    products: NDArray[np.int32],
    ratio_test: bool,
    nearest: NDArray[np.int32],
    largest: NDArray[np.int32],
    second: NDArray[np.int32],
    largest_of_b: NDArray[np.int32],
) -> None:
    """Find the largest products of some rows of `a`. Each inner loop is made of SIMD instructions.

    Args:
        products: [rows, M] of the rows of `a` and `b`; they are overwritten.
        ratio_test: Whether `second` is needed.
        nearest: [rows] that receives the first of the nearest rows of `b`.
        largest: [rows] that receives the product with that row.
        second: [rows] that receives the largest product with another row, if there is one.
        largest_of_b: [M] largest product of each row of `b` so far, which is updated.
    """
    m = np.int32(products.shape[1])
    for i in range(len(products)):
        row, top = products[i], LOWEST
        for j in range(m):
            top = max(top, row[j])
            largest_of_b[j] = max(largest_of_b[j], row[j])
        first = m
        for j in range(m):
            first = min(first, np.int32(j) if row[j] == top else m)
        nearest[i], largest[i] = first, top
        if ratio_test:
            row[first], top = LOWEST, LOWEST
            for j in range(m):
                top = max(top, row[j])
            second[i] = top


def _select(
    nearest: NDArray[np.int32],
    largest: NDArray[np.int32],
    second: NDArray[np.int32],
    largest_of_b: NDArray[np.int32],
    max_square: float,
    ratio_square: float,
    mutual: bool,
    matches: NDArray[np.int32],
) -> int:
    """Write the K matches that pass all tests to the first rows of `matches` [N, 2]; return K."""
    k = 0
    for i in range(len(nearest)):
        j = nearest[i]
        if mutual and largest[i] < largest_of_b[j]:
            continue
        distance = min(max(2 * (UNIT**2 - int(largest[i])), 0), 4 * UNIT**2)
        other = min(max(2 * (UNIT**2 - int(second[i])), 0), 4 * UNIT**2)
        alone = second[i] == LOWEST  # or the ratio is not tested
        if distance <= max_square and (alone or distance <= ratio_square * other):
            matches[k, 0], matches[k, 1] = i, j
            largest_of_b[j] = HIGHEST  # later rows of `a` that are equally near don't match
            k += 1
    return k

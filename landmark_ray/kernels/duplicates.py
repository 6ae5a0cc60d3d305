"""Duplicates: pairs of perceptual hashes that differ in few bits, and clusters of such images.

If two hashes differ in at most `bits` bits and are cut into `bits + EQUAL_BLOCKS` blocks, at least
`EQUAL_BLOCKS` of the blocks are equal (the pigeonhole principle). So the hashes are sorted by each
combination of blocks, and only hashes with equal blocks are compared: each hash with a few others,
not with a million. (Norouzi, Punjani, Fleet: Fast search in Hamming space with multi-index hashing,
2012.)
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

EQUAL_BLOCKS = 3
"""Blocks that must be equal. With 3 blocks and `bits` 4, these are 27 of 64 bits, which is enough
for 100 million hashes."""

CHUNK = 1 << 14
"""Number of pairs of thumbnails that are compared in one step."""

Pairs = NDArray[np.int64]
"""[P, 2] row numbers of two images, the smaller number first."""

Combination = tuple[int, ...]
"""Numbers of the blocks that must be equal, in rising order."""


def block_combinations(bits: int) -> list[Combination]:
    """Return all combinations of blocks; only the first equal blocks of a pair find it."""
    return list(combinations(range(bits + EQUAL_BLOCKS), EQUAL_BLOCKS))


def near_pairs(hashes: NDArray[np.uint64], bits: int, combination: Combination) -> Pairs:
    """Return the pairs of hashes [N] that differ in at most `bits` bits and that this finds."""
    edges = [64 * i // (bits + EQUAL_BLOCKS) for i in range(bits + EQUAL_BLOCKS + 1)]
    blocks = [
        np.uint64((1 << high) - (1 << low)) for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    before = [block for i, block in enumerate(blocks[: combination[-1]]) if i not in combination]
    keys = hashes & np.bitwise_or.reduce([blocks[i] for i in combination])
    order = np.argsort(keys)
    keys, ordered = keys[order], hashes[order]
    pairs = [np.empty((0, 2), np.int64)]
    for first, second in _runs(keys):
        differ = ordered[first] ^ ordered[second]
        near = np.bitwise_count(differ) <= bits
        for block in before:
            near &= (differ & block) != 0
        rows = np.stack([order[first[near]], order[second[near]]], 1)
        pairs.append(np.sort(rows, 1))
    return np.concatenate(pairs)


def _runs(keys: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield all i < j of sorted keys with keys[i] == keys[j], in steps of equal j - i."""
    first = np.arange(len(keys) - 1)
    step = 1
    while True:
        first = first[: np.searchsorted(first, len(keys) - step)]
        first = first[keys[first] == keys[first + step]]
        if not len(first):
            return
        yield first, first + step
        step += 1


def merge_pairs(found: list[Pairs]) -> Pairs:
    """Return the pairs that all combinations found, sorted."""
    pairs = np.concatenate([np.empty((0, 2), np.int64), *found])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def difference(
    thumbnails: NDArray[np.uint8], a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the mean difference [P] of pairs of thumbnails [N, H, W], in grey levels.

    Args:
        thumbnails: [N, H, W] uint8.
        a: [P] row number of the first thumbnail of each pair.
        b: [P] row number of the second.
    """
    differences = np.empty(len(a), np.float32)
    for start in range(0, len(a), CHUNK):
        chunk = slice(start, start + CHUNK)
        first, second = thumbnails[a[chunk]], thumbnails[b[chunk]]
        differences[chunk] = np.abs(first.astype(np.int16) - second).mean(
            axis=(1, 2), dtype=np.float32
        )
    return differences


def representatives(
    group: NDArray[np.int64], thumbnails: NDArray[np.uint8], max_difference: float
) -> NDArray[np.int64]:
    """Return for each image [N] the first image of its group that looks the same, or itself.

    A placeholder picture that occurs a thousand times costs only one comparison for each copy.

    Args:
        group: [N] images with equal hashes have equal numbers.
        thumbnails: [N, H, W] uint8, grey.
        max_difference: Largest mean difference of images that look the same, in grey levels.
    """
    representative = np.full(len(group), -1)
    remaining = np.arange(len(group))
    while len(remaining):
        _, start, inverse = np.unique(group[remaining], return_index=True, return_inverse=True)
        head = remaining[start][inverse]
        alike = difference(thumbnails, remaining, head) <= max_difference
        representative[remaining[alike]] = head[alike]
        remaining = remaining[~alike]
    return representative


def clusters(images: int, pairs: Pairs) -> NDArray[np.int64]:
    """Return for each image [N] the first image of its cluster: all that pairs link, in any way."""
    from scipy.sparse import coo_array  # this import takes a quarter of a second
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(images, images))
    _, label = connected_components(graph, directed=False)
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    return first[inverse]

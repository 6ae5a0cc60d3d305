"""Duplicates: pairs of perceptual hashes that differ in few bits, and clusters of alike images.

Two hashes that differ in at most `bits` bits, cut into `bits + SAME` blocks, agree on `EQUAL_BLOCKS` of the
blocks at least (the pigeonhole principle). So for each choice of blocks the hashes are sorted by
them, and only those with equal blocks are compared: of a million hashes a few to each one, not a
million. (Norouzi, Punjani, Fleet: Fast search in Hamming space with multi-index hashing, 2012.)
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

EQUAL_BLOCKS = 3
"""Blocks that must agree. With 3 and `bits` 4, 27 of 64 bits do: enough for 100 million hashes."""

CHUNK = 1 << 14
"""Thumbnails that are compared at once."""

Pairs = NDArray[np.int64]
"""[P, 2] rows of two images, the smaller first."""

Combination = tuple[int, ...]
"""Blocks that must agree, in rising order."""


def block_combinations(bits: int) -> list[Combination]:
    """All choices of blocks. A pair is found in one way alone: by the first blocks that agree."""
    return list(combinations(range(bits + EQUAL_BLOCKS), EQUAL_BLOCKS))


def near_pairs(hashes: NDArray[np.uint64], bits: int, combination: Combination) -> Pairs:
    """The pairs of hashes [N] that a way finds, of those that differ in at most `bits` bits."""
    edges = [64 * i // (bits + EQUAL_BLOCKS) for i in range(bits + EQUAL_BLOCKS + 1)]
    blocks = [
        np.uint64((1 << high) - (1 << low)) for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    before = [block for i, block in enumerate(blocks[: combination[-1]]) if i not in combination]
    keys = hashes & np.bitwise_or.reduce([blocks[i] for i in combination])
    order = np.argsort(keys)
    keys, ordered = keys[order], hashes[order]
    found = [np.empty((0, 2), np.int64)]
    for first, second in _runs(keys):
        differ = ordered[first] ^ ordered[second]
        near = np.bitwise_count(differ) <= bits
        for block in before:
            near &= (differ & block) != 0
        rows = np.stack([order[first[near]], order[second[near]]], 1)
        found.append(np.sort(rows, 1))
    return np.concatenate(found)


def _runs(keys: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All places i < j of sorted keys with keys[i] == keys[j], those of a distance at a time."""
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
    """The pairs that all ways found, sorted."""
    pairs = np.concatenate([np.empty((0, 2), np.int64), *found])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def difference(
    thumbnails: NDArray[np.uint8], a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.float32]:
    """[P] mean difference of pairs of thumbnails [N, H, W], in grey levels; a and b are rows."""
    apart = np.empty(len(a), np.float32)
    for start in range(0, len(a), CHUNK):
        part = slice(start, start + CHUNK)
        one, other = thumbnails[a[part]], thumbnails[b[part]]
        apart[part] = np.abs(one.astype(np.int16) - other).mean(axis=(1, 2), dtype=np.float32)
    return apart


def representatives(
    group: NDArray[np.int64], thumbnails: NDArray[np.uint8], most: float
) -> NDArray[np.int64]:
    """[N] for each image the first one of its group that it looks like; itself where there is none.

    A placeholder that stands for thousands of photos costs one comparison for each of them.

    Args:
        group: [N] images of equal hashes have equal numbers.
        thumbnails: [N, H, W] grey.
        most: difference of images that look alike.
    """
    representative = np.full(len(group), -1)
    left = np.arange(len(group))
    while len(left):
        _, start, place = np.unique(group[left], return_index=True, return_inverse=True)
        head = left[start][place]
        alike = difference(thumbnails, left, head) <= most
        representative[left[alike]] = head[alike]
        left = left[~alike]
    return representative


def clusters(images: int, pairs: Pairs) -> NDArray[np.int64]:
    """[N] the first image of each one's cluster: those that pairs link, through others or not."""
    from scipy.sparse import coo_array  # a quarter of a second that no other stage needs
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(images, images))
    _, label = connected_components(graph, directed=False)
    _, first, place = np.unique(label, return_index=True, return_inverse=True)
    return first[place]

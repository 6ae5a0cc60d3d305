"""Duplicates: pairs of perceptual hashes that differ in few bits, and clusters of alike images.

Two hashes that differ in at most `bits` bits, cut into `bits + SAME` blocks, agree on `SAME` of the
blocks at least (the pigeonhole principle). So for each choice of blocks the hashes are sorted by
them, and only those with equal blocks are compared: of a million hashes a few to each one, not a
million. (Norouzi, Punjani, Fleet: Fast search in Hamming space with multi-index hashing, 2012.)
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SAME = 3
"""Blocks that must agree. With 3 and `bits` 4, 27 of 64 bits do: enough for 100 million hashes."""

Pairs = NDArray[np.int64]
"""[P, 2] rows of two images, the smaller first."""

_ALL = (1 << 64) - 1


def masks(bits: int) -> list[int]:
    """Of 64 bits those that must agree, in all ways; one of them finds a pair."""
    blocks = bits + SAME
    edges = [64 * i // blocks for i in range(blocks + 1)]
    pieces = [(1 << high) - (1 << low) for low, high in zip(edges[:-1], edges[1:], strict=True)]
    return [sum(chosen) & _ALL for chosen in combinations(pieces, SAME)]


def near_pairs(hashes: NDArray[np.uint64], bits: int, mask: int) -> Pairs:
    """The pairs of hashes [N] that agree on a mask and differ in at most `bits` bits."""
    keys = hashes & np.uint64(mask)
    order = np.argsort(keys)
    keys, ordered = keys[order], hashes[order]
    found = [np.empty((0, 2), np.int64)]
    for first, second in _runs(keys):
        near = np.bitwise_count(ordered[first] ^ ordered[second]) <= bits
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


def merged(found: list[Pairs]) -> Pairs:
    """The pairs that several masks found, each once, sorted."""
    pairs = np.concatenate([np.empty((0, 2), np.int64), *found])
    return np.unique(pairs, axis=0)


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[P] mean difference of thumbnails [P, H, W], in grey levels."""
    return np.abs(a.astype(np.int16) - b).mean(axis=(1, 2), dtype=np.float32)


def leaders(
    group: NDArray[np.int64], thumbnails: NDArray[np.uint8], most: float
) -> NDArray[np.int64]:
    """[N] for each image the first one of its group that it looks like; itself where there is none.

    A placeholder that stands for thousands of photos costs one comparison for each of them.

    Args:
        group: [N] images of equal hashes have equal numbers.
        thumbnails: [N, H, W] grey.
        most: difference of images that look alike.
    """
    leader = np.full(len(group), -1)
    left = np.arange(len(group))
    while len(left):
        _, start, place = np.unique(group[left], return_index=True, return_inverse=True)
        head = left[start][place]
        alike = difference(thumbnails[left], thumbnails[head]) <= most
        leader[left[alike]] = head[alike]
        left = left[~alike]
    return leader


def clusters(images: int, pairs: Pairs) -> NDArray[np.int64]:
    """[N] the first image of each one's cluster: those that pairs link, through others or not."""
    ones = np.ones(len(pairs), np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(images, images))
    _, label = connected_components(graph, directed=False)
    _, first, place = np.unique(label, return_index=True, return_inverse=True)
    return first[place]

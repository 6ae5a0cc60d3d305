"""Seeded, order-free choices over tables of images, and the layout of classes in shards.

Every random choice is a hash of (seed, key), so it depends neither on the order of the rows nor on
how many processes make it.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def rank_key(image_ids: Sequence[str] | NDArray[np.object_], seed: int) -> NDArray[np.uint64]:
    """A number for each image that is random in (seed, image_id) and nothing else.

    Args:
        image_ids: [N] strings.
        seed: any integer.

    Returns:
        [N] uint64: SipHash-2-4 of the id, keyed by the seed.
    """
    key = f"{seed & (1 << 64) - 1:016x}"
    return pd.util.hash_array(np.asarray(image_ids, object), hash_key=key, categorize=False)


def choose_images(
    image_ids: NDArray[np.object_],
    landmark_ids: NDArray[np.int64],
    *,
    min_images: int,
    max_images: int,
    seed: int,
) -> NDArray[np.int64]:
    """Rows of the classes with at least `min_images` images, at most `max_images` of each.

    Returns:
        [K] row numbers, sorted by landmark_id, then by the images' random rank.
    """
    order = np.lexsort((rank_key(image_ids, seed), landmark_ids))
    _, start, size = np.unique(landmark_ids[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(start, size)
    return order[(place < max_images) & np.repeat(size >= min_images, size)]


def bucket_of(landmark_ids: NDArray[np.int64], buckets: int) -> NDArray[np.int32]:
    """[N] bucket of each landmark: a hash of its id modulo `buckets`."""
    hashed = pd.util.hash_array(np.asarray(landmark_ids, np.int64))
    return (hashed % np.uint64(buckets)).astype(np.int32)


def shard_of(class_sizes: NDArray[np.int64], shard_images: int) -> NDArray[np.int32]:
    """[C] shard of each class of a bucket, filled in order to about `shard_images` images.

    A class is never split: one that is larger than `shard_images` has a shard of its own.
    """
    shards = np.zeros(len(class_sizes), np.int32)
    shard, filled = 0, 0
    for i, size in enumerate(class_sizes.tolist()):
        if filled and filled + size > shard_images:
            shard, filled = shard + 1, 0
        filled += size
        shards[i] = shard
    return shards

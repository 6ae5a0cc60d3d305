"""Random choices that depend on a seed and not on an order; the layout of classes in shards.

Every random choice is a hash of (seed, key), so it depends neither on the order of the rows nor on
the number of processes.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

EACH = 3
"""Largest number of images of a small class, so that many classes are among the strangers."""


def rank_key(image_ids: Sequence[str] | NDArray[np.object_], seed: int) -> NDArray[np.uint64]:
    """Return a random number for each image that depends only on (seed, image_id).

    Args:
        image_ids: [N] strings.
        seed: Any integer.

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
    """Choose at most `max_images` images of each class that has at least `min_images` images.

    Args:
        image_ids: [N] strings.
        landmark_ids: [N] class of each image.
        min_images: Classes with fewer images are dropped.
        max_images: Number of images that are chosen at random from larger classes.
        seed: Any integer.

    Returns:
        [K] row numbers, sorted by landmark_id, then by the images' random rank.
    """
    order = np.lexsort((rank_key(image_ids, seed), landmark_ids))
    _, start, size = np.unique(landmark_ids[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(start, size)
    return order[(rank < max_images) & np.repeat(size >= min_images, size)]


def choose_strangers(
    image_ids: NDArray[np.object_],
    landmark_ids: NDArray[np.int64],
    *,
    min_images: int,
    most: int,
    seed: int,
) -> NDArray[np.int64]:
    """Choose images of classes that are too small to be learned, at most `EACH` of a class.

    They are of other places, as photos are that people send of landmarks that no model knows.

    Args:
        image_ids: [N] strings.
        landmark_ids: [N] class of each image.
        min_images: Classes with fewer images are too small.
        most: Largest number of images.
        seed: Any integer.

    Returns:
        [K] row numbers; the classes are in random order.
    """
    few = choose_images(image_ids, landmark_ids, min_images=1, max_images=EACH, seed=seed)
    _, own, sizes = np.unique(landmark_ids, return_inverse=True, return_counts=True)
    few = few[sizes[own[few]] < min_images]
    rank = rank_key(landmark_ids[few].astype(str), seed + 1)
    return few[np.argsort(rank, kind="stable")[:most]]


def choose_left_out(landmarks: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Choose landmarks that no model learns, at most a share of them.

    They are those of the lowest rank, so that `data.examples.background_split` uses all of them for
    validation, up to half of the landmarks.

    Args:
        landmarks: [L] ids.
        share: 0 to 1.
        seed: Any integer.
    """
    order = np.argsort(rank_key(landmarks.astype(str), seed), kind="stable")
    return landmarks[order[: int(share * len(landmarks))]]


def bucket_of(landmark_ids: NDArray[np.int64], buckets: int) -> NDArray[np.int32]:
    """Return the bucket [N] of each landmark [N]: a hash of its id modulo `buckets`."""
    hashed = pd.util.hash_array(np.asarray(landmark_ids, np.int64))
    return (hashed % np.uint64(buckets)).astype(np.int32)


def shard_of(class_sizes: NDArray[np.int64], shard_images: int) -> NDArray[np.int32]:
    """Return the shard of each class of a bucket; shards are filled in the order of the classes.

    Args:
        class_sizes: [C] number of images of each class.
        shard_images: Approximate number of images in a shard. A class is never split, so a class
            with more images has a shard of its own.

    Returns:
        [C] numbers of shards, from 0.
    """
    shards = np.zeros(len(class_sizes), np.int32)
    shard, filled = 0, 0
    for i, size in enumerate(class_sizes.tolist()):
        if filled and filled + size > shard_images:
            shard, filled = shard + 1, 0
        filled += size
        shards[i] = shard
    return shards

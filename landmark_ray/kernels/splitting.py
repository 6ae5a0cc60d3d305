"""Groups of classes by size, clusters of near-duplicates, and the split of a class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def group_of(class_sizes: NDArray[np.int64], edges: Sequence[int]) -> NDArray[np.int32]:
    """[C] group of each class by its number of images: 1 from edges[0] on, 0 below it."""
    return np.searchsorted(np.asarray(edges), class_sizes, side="right").astype(np.int32)


def validation_share(group: int, groups: int, first: float, last: float) -> float:
    """Share of a class of `group` (1..groups) that validates: evenly from `first` to `last`."""
    return first + (last - first) * (group - 1) / max(groups - 1, 1)


def duplicate_clusters(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    """[N] cluster of each image: images linked by hashes at most `bits` apart share one.

    Args:
        hashes: [N] 64-bit perceptual hashes.
        bits: Hamming distance of near-duplicates at most.

    Returns:
        [N] index of the first image of each one's cluster (single linkage).
    """
    near = np.bitwise_count(hashes[:, None] ^ hashes[None, :]) <= bits
    cluster = np.arange(len(hashes))
    while True:
        least = np.where(near, cluster[None, :], len(hashes)).min(axis=1, initial=len(hashes))
        if (least == cluster).all():
            return cluster
        cluster = least


def split_class(
    rank: NDArray[np.uint64], cluster: NDArray[np.int64], share: float
) -> NDArray[np.bool_]:
    """[N] whether an image of one class validates; a cluster is on one side as a whole.

    Args:
        rank: [N] random number of each image.
        cluster: [N] index of the first image of each one's cluster.
        share: wanted share of validation images; round(share * N) is never passed.

    Whole clusters are taken by their smallest rank until no further one fits. A class that is one
    single cluster only trains.
    """
    wanted = int(share * len(rank) + 0.5)
    names, members = np.unique(cluster, return_inverse=True)
    size = np.bincount(members, minlength=len(names))
    least = np.full(len(names), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(least, members, rank)
    taken = np.zeros(len(names), bool)
    for name in np.argsort(least, kind="stable"):
        if size[name] <= wanted:
            taken[name] = True
            wanted -= size[name]
    return taken[members]

"""Groups of classes by size, and the split of a class into training and validation images."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TRAINS = -1
"""Cluster number of images that never validate."""


def group_of(class_sizes: NDArray[np.int64], edges: Sequence[int]) -> NDArray[np.int32]:
    """Return the group [C] of each class by its number of images: 1 from edges[0] on, 0 below."""
    return np.searchsorted(np.asarray(edges), class_sizes, side="right").astype(np.int32)


def validation_share(group: int, groups: int, first: float, last: float) -> float:
    """Return the share of a class that validates; it goes evenly from group 1 to the last group.

    Args:
        group: 1 to `groups`.
        groups: Number of groups.
        first: Share in group 1.
        last: Share in group `groups`.
    """
    return first + (last - first) * (group - 1) / max(groups - 1, 1)


def wanted_validation(share: float, images: int) -> int:
    """Return the number of images of a class that should validate: the rounded product."""
    return int(share * images + 0.5)


def split_class(
    rank: NDArray[np.uint64], cluster: NDArray[np.int64], share: float
) -> NDArray[np.bool_]:
    """Split the images of one class, with each cluster of near-duplicates on one side.

    Whole clusters are taken by their smallest rank until no further cluster fits. If all images of
    a class are in one cluster, all of them train.

    Args:
        rank: [N] random number of each image.
        cluster: [N] cluster number of each image, or `TRAINS`.
        share: Wanted share of validation images; there are never more than round(share * N).

    Returns:
        [N] bool; whether an image validates.
    """
    wanted = wanted_validation(share, len(rank))
    names, members = np.unique(cluster, return_inverse=True)
    size = np.bincount(members, minlength=len(names))
    least = np.full(len(names), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(least, members, rank)
    taken = np.zeros(len(names), bool)
    for name in np.argsort(least, kind="stable"):
        if size[name] <= wanted and names[name] != TRAINS:
            taken[name] = True
            wanted -= size[name]
    return taken[members]

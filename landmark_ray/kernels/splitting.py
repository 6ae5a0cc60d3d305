"""Groups of classes by size, and the split of a class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TRAINS = -1
"""Number of a cluster that never validates."""


def group_of(class_sizes: NDArray[np.int64], edges: Sequence[int]) -> NDArray[np.int32]:
    """[C] group of each class by its number of images: 1 from edges[0] on, 0 below it."""
    return np.searchsorted(np.asarray(edges), class_sizes, side="right").astype(np.int32)


def validation_share(group: int, groups: int, first: float, last: float) -> float:
    """Share of a class of `group` (1..groups) that validates: evenly from `first` to `last`."""
    return first + (last - first) * (group - 1) / max(groups - 1, 1)


def wanted_validation(share: float, images: int) -> int:
    """Images of a class that are to validate."""
    return int(share * images + 0.5)


def split_class(
    rank: NDArray[np.uint64], cluster: NDArray[np.int64], share: float
) -> NDArray[np.bool_]:
    """[N] whether an image of one class validates; a cluster is on one side as a whole.

    Args:
        rank: [N] random number of each image.
        cluster: [N] number of each one's cluster, or `TRAINS`.
        share: wanted share of validation images; round(share * N) is never passed.

    Whole clusters are taken by their smallest rank until no further one fits. A class that is one
    single cluster only trains.
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

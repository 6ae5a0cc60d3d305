"""Whether photos that someone wants to enrol show one landmark."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

NEIGHBOURS = 3
"""Number of nearest photos that are asked which landmark they show."""


@dataclass(frozen=True)
class Enrolment:
    """What the photos of an enrolment show.

    Attributes:
        fits: [N] whether a photo fits the others: another verifies it, or at least half of the
            photos that resemble it most are among them.
        parts: [N] number of the part that a photo belongs to, from 0; -1 if it does not fit.
    """

    fits: NDArray[np.bool_]
    parts: NDArray[np.int64]


def examine(
    vectors: NDArray[np.float32], verified: NDArray[np.bool_], others: NDArray[np.float32]
) -> Enrolment:
    """Find the photos that fit together.

    Args:
        vectors: [N, d] whitened vectors of the photos, of unit length.
        verified: [N, N] which pairs geometry verifies.
        others: [N, K] cosines of each photo's nearest photos in the index, falling.
    """
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    count = min(NEIGHBOURS, len(vectors) - 1)
    nearest = np.sort(np.concatenate([cosines, others], axis=1), axis=1)[:, -count:]
    own = (cosines >= nearest[:, :1]).sum(axis=1)
    fits = verified.any(axis=1) | (2 * own >= count)
    ranked = np.argsort(-cosines, axis=1, kind="stable")[:, : max(count - 1, 1)]
    chosen = np.zeros(cosines.shape, bool)
    np.put_along_axis(chosen, ranked, True, axis=1)
    linked = (verified | chosen | chosen.T) & fits[:, None] & fits[None, :]
    _, parts = connected_components(coo_array(linked), directed=False)
    return Enrolment(fits, np.where(fits, parts, -1))


def two_things(
    vectors: NDArray[np.float32], parts: NDArray[np.int64], means: NDArray[np.float32]
) -> tuple[int, int] | None:
    """Return two parts that show different things, or None.

    They do if each part, of two photos at least, resembles another landmark more than the other
    part. The views of one landmark may be parts, too; then they resemble each other most.

    Args:
        vectors: [N, d] of unit length.
        parts: [N] part of each, -1 for photos that do not count.
        means: [L, d] of the landmarks of the index, of unit length.
    """
    numbers = [int(p) for p in np.unique(parts[parts >= 0]) if (parts == p).sum() > 1]
    centres = {p: vectors[parts == p].mean(axis=0) for p in numbers}
    centres = {p: c / np.linalg.norm(c) for p, c in centres.items()}
    nearest = {p: float((means @ c).max(initial=-1)) for p, c in centres.items()}
    for first in numbers:
        for second in numbers:
            alike = float(centres[first] @ centres[second])
            if first < second and alike < min(nearest[first], nearest[second]):
                return first, second
    return None

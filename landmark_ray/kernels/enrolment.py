"""Whether photos that someone wants to enrol show one landmark."""

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from landmark_ray.kernels.whitening import unit_length

LEAD = 0.2
"""Photos show something else if they resemble another landmark more, by this cosine.

In gld-mini and gld-scenes, 2% of the sets of 5 to 20 photos of one landmark have two parts that do,
and half of the sets of photos of two landmarks. Of single photos among 5 of one landmark, at most
2% do, and a third of the photos of no landmark. At 0, 6% and nine tenths would be left out, and on
either half of the landmarks fewer photos would be answered rightly, with such a photo and without.
"""


def leads_of_others(
    vectors: NDArray[np.float32], verified: NDArray[np.bool_], means: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return by how much each photo [N] resembles another landmark more than the other photos.

    It is a difference of cosines, below 0 for photos that fit. Of photos that another photo
    verifies, it is -2.

    Args:
        vectors: [N, d] whitened vectors of the photos, of unit length.
        verified: [N, N] which pairs geometry verifies.
        means: [L, d] of the landmarks of the index, of unit length.
    """
    others = unit_length(vectors.sum(axis=0) - vectors)
    to_others = (vectors * others).sum(axis=1)
    leads = (vectors @ means.T).max(axis=1, initial=-1) - to_others
    return np.where(verified.any(axis=1), np.float32(-2), leads)


def two_things(
    vectors: NDArray[np.float32], verified: NDArray[np.bool_], means: NDArray[np.float32]
) -> NDArray[np.bool_] | None:
    """Divide photos in two parts; return which [N] are in the second if the parts show two things.

    They do if each part, of two photos at least, resembles another landmark more than the other
    part, and no photo of one verifies one of the other. The views of one landmark may be parts,
    too; then they resemble each other most.

    Args:
        vectors: [N, d] of unit length, N of 2 at least.
        verified: [N, N] which pairs geometry verifies.
        means: [L, d] of the landmarks of the index, of unit length.
    """
    second = fcluster(linkage(vectors, "ward"), 2, "maxclust") == 2
    if min(second.sum(), (~second).sum()) < 2 or verified[second][:, ~second].any():
        return None
    centres = unit_length(np.stack([vectors[part].mean(axis=0) for part in (~second, second)]))
    nearest = (centres @ means.T).max(axis=1, initial=-1).min()
    return second if centres[0] @ centres[1] < nearest - LEAD else None

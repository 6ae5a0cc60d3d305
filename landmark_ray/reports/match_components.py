"""Parts of a landmark: its images that verify each other, directly or through others.

A landmark in several large parts shows several views, or photos of several places: then a part is
an album of another place, which geometry alone cannot tell from a view.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from landmark_ray.data.root import Root

LANDMARKS = 24
"""Number of landmarks that are listed: those whose second part is the largest."""

PARTS, SHOWN = 6, 4
"""Number of parts of a landmark, and of images of a part, that are shown."""


@dataclass(frozen=True)
class Part:
    """Images of a landmark that verify each other.

    Attributes:
        images: All image ids, rising.
    """

    images: list[str]

    @property
    def shown(self) -> list[str]:
        """The images that the page shows."""
        return self.images[:SHOWN]


@dataclass(frozen=True)
class DividedLandmark:
    """A landmark with several parts, the largest first."""

    landmark_id: int
    parts: list[Part]


def divided_landmarks(root: Root, min_inliers: int) -> list[DividedLandmark]:
    """Find the landmarks whose kept images are in several parts.

    Args:
        root: The root.
        min_inliers: A pair with at least this many inliers verifies its images.

    Returns:
        The LANDMARKS of them whose second part is the largest, with up to PARTS parts each.
    """
    verified = pc.field("inliers") >= min_inliers
    pairs = root.dataset("pairs").to_table(["image_a", "image_b"], filter=verified)
    kept = root.dataset("kept").to_table(["image_id", "landmark_id"], filter=pc.field("keep"))
    ends = [
        pc.fill_null(pc.index_in(pairs[end], kept["image_id"]), -1).to_numpy()
        for end in pairs.column_names
    ]
    both = (ends[0] >= 0) & (ends[1] >= 0)
    a, b = (end[both] for end in ends)
    count = kept.num_rows
    _, part = connected_components(coo_array((np.ones(len(a), bool), (a, b)), (count, count)))
    landmarks = kept["landmark_id"].to_numpy()
    sizes = np.bincount(part)
    large = np.flatnonzero(sizes[part] > 1)
    parts: dict[int, Counter[int]] = defaultdict(Counter)
    for landmark, number in zip(landmarks[large].tolist(), part[large].tolist(), strict=True):
        parts[landmark][number] += 1
    second = {i: of.most_common(2)[1][1] for i, of in parts.items() if len(of) > 1}
    chosen = sorted(second, key=lambda landmark: (-second[landmark], landmark))[:LANDMARKS]
    ids = kept["image_id"]

    def images(number: int) -> list[str]:
        return sorted(ids.take(np.flatnonzero(part == number)).to_pylist())

    return [
        DividedLandmark(
            landmark, [Part(images(number)) for number, _ in parts[landmark].most_common(PARTS)]
        )
        for landmark in chosen
    ]

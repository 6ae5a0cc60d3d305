"""Parts of a landmark: its images that are linked, directly or through others.

Two images are linked if they verify each other, or if each is among the photos that resemble the
other most. The latter is needed with `--match.mode early`, which stops before most pairs are tried.
A landmark in several large parts shows several views, or photos of several places: then a part is
an album of another place, which geometry alone cannot tell from a view.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.data.root import Root
from landmark_ray.kernels.duplicates import clusters

LANDMARKS = 24
"""Number of landmarks that are listed: those whose second part is the largest."""

PARTS, SHOWN = 6, 4
"""Number of parts of a landmark, and of images of a part, that are shown."""


@dataclass(frozen=True)
class Part:
    """Images of a landmark that are linked.

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
    columns = ["image_id", "landmark_id", "neighbours"]
    kept = root.dataset("kept").to_table(columns, filter=pc.field("keep")).combine_chunks()
    ids, count = kept["image_id"], kept.num_rows
    links = [_rows(pairs[end], ids) for end in pairs.column_names], _mutual_neighbours(kept)
    pairs_of_rows = np.concatenate(links, axis=1).T
    part = clusters(count, pairs_of_rows[(pairs_of_rows >= 0).all(axis=1)])
    landmarks = kept["landmark_id"].to_numpy()
    sizes = np.bincount(part)
    large = np.flatnonzero(sizes[part] > 1)
    parts: dict[int, Counter[int]] = defaultdict(Counter)
    for landmark, number in zip(landmarks[large].tolist(), part[large].tolist(), strict=True):
        parts[landmark][number] += 1
    second = {i: of.most_common(2)[1][1] for i, of in parts.items() if len(of) > 1}
    chosen = sorted(second, key=lambda landmark: (-second[landmark], landmark))[:LANDMARKS]

    def images(number: int) -> list[str]:
        return sorted(ids.take(np.flatnonzero(part == number)).to_pylist())

    return [
        DividedLandmark(
            landmark, [Part(images(number)) for number, _ in parts[landmark].most_common(PARTS)]
        )
        for landmark in chosen
    ]


def _rows(image_ids: pa.ChunkedArray, among: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the row of each image among others, or -1."""
    return pc.fill_null(pc.index_in(image_ids, among), -1).to_numpy().astype(np.int64)


def _mutual_neighbours(kept: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the pairs (rows, rows) of images of a landmark that are neighbours of each other."""
    a = pc.list_parent_indices(kept["neighbours"]).to_numpy()
    b = _rows(pc.list_flatten(kept["neighbours"]), kept["image_id"])
    landmarks = kept["landmark_id"].to_numpy()
    a, b = a[b >= 0], b[b >= 0]
    a, b = a[landmarks[a] == landmarks[b]], b[landmarks[a] == landmarks[b]]
    mutual = np.isin(b * len(landmarks) + a, a * len(landmarks) + b)
    return a[mutual], b[mutual]

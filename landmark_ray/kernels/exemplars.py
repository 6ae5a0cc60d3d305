"""Exemplars: photos of a landmark with which a new photo is verified by geometry."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.kernels.features import Features, ImageFeatures
from landmark_ray.kernels.fusion import Candidates
from landmark_ray.kernels.matching import REFERENCE_SIDE, MatchingRule, match_pair

LEADING = 5
"""Number of landmarks whose exemplars a photo is matched with: as many as an answer names."""

MAX_BYTES = 1 << 16
"""Largest number of bytes of the features of an exemplar."""

FEWEST = 3
"""With fewer matches, there is no affine map, so no inliers are counted."""

MOST_POINTS = 50
"""Largest number of matched points that are shown of a photo and an exemplar."""


@dataclass(frozen=True)
class ExemplarMatch:
    """An exemplar that a photo was matched with.

    Attributes:
        image_id: The exemplar.
        inliers: Number of inliers, as `most_inliers` counts them.
        points: [K, 2, 2] float32 (x, y) of the first inliers, in the photo and in the exemplar, as
            shares of width and height from 0 to 1.
        thumbnail: JPEG of the exemplar; may be empty.
        author: Who made the exemplar, if that is known.
        licence: Licence of the exemplar, if that is known.
    """

    image_id: str
    inliers: int
    points: NDArray[np.float32]
    thumbnail: bytes
    author: str | None = None
    licence: str | None = None


def choose_exemplars(photos: pa.Table, pairs: pa.Table, most: int) -> pa.Table:
    """Choose the photos of each landmark that are best connected in the match graph.

    Args:
        photos: `image_id` and `landmark_id` of the photos to choose from.
        pairs: `image_a` and `image_b` of verified pairs of any photos.
        most: Largest number of photos of a landmark.

    Returns:
        Some of the photos, by landmark; those with most verified partners come first, and of
        equally many, the smaller id.
    """
    ends = pa.chunked_array([*pairs["image_a"].chunks, *pairs["image_b"].chunks], pa.string())
    partners = pc.value_counts(ends)
    place = pc.index_in(photos["image_id"], partners.field("values"))
    counts = pc.fill_null(partners.field("counts").take(place), 0)
    ranked = photos.append_column("partners", counts).sort_by(
        [("landmark_id", "ascending"), ("partners", "descending"), ("image_id", "ascending")]
    )
    landmark = ranked["landmark_id"].to_numpy()
    rank = np.arange(len(landmark)) - np.searchsorted(landmark, landmark)
    return ranked.filter(pa.array(rank < most)).drop_columns("partners")


def compact(features: Features) -> Features:
    """Keep as many features, the first ones, as fit in `MAX_BYTES`; positions are rounded.

    They are rounded to 16 bits, which is half a pixel or less in a photo of 1,024 pixels.
    """
    points = features.keypoints.astype(np.float16)
    fit = MAX_BYTES // max(points[:1].nbytes + features.descriptors[:1].nbytes, 1)
    return Features(points[:fit].astype(np.float32), features.descriptors[:fit])


def leading(found: Candidates, most: int) -> list[list[int]]:
    """Return for N photos the candidates that are first by any evidence, at most `most` of each.

    The evidence is what the heads say, and the similarities to nearest photos and to means. It
    needs no fusion, which is fitted to what the exemplars of these candidates say.
    """
    best = np.full(found.landmarks.shape, found.landmarks.shape[1])
    for values in (np.nan_to_num(found.heads), found.nearest, found.mean):
        counts = found.known & (values > 0)
        order = np.argsort(np.where(counts, -values, np.inf), axis=1, kind="stable")
        rank = np.argsort(order, axis=1)
        best = np.where(counts, np.minimum(best, rank), best)
    order = np.lexsort((-found.nearest, best, ~found.known))[:, :most]
    return [
        [landmark for landmark, known in zip(row.tolist(), is_known, strict=True) if known]
        for row, is_known in zip(
            np.take_along_axis(found.landmarks, order, 1),
            np.take_along_axis(found.known, order, 1),
            strict=True,
        )
    ]


def most_inliers(
    photo: ImageFeatures, exemplars: Sequence[ImageFeatures], rule: MatchingRule
) -> int:
    """Return the most inliers that a photo has with any of some exemplars; 0 without any."""
    pairs = (match_pair(exemplar, photo, rule, stop_below=FEWEST) for exemplar in exemplars)
    return max((pair.inliers for pair in pairs), default=0)


def inlier_points(
    photo: ImageFeatures, exemplar: ImageFeatures, rule: MatchingRule
) -> tuple[int, NDArray[np.float32]]:
    """Match a photo with an exemplar.

    Returns:
        The number of inliers, and [K, 2, 2] (x, y) of those that count, in pixels of the photo and
        of the exemplar: of those in the same cell, the one of the exemplar's strongest feature.
    """
    pair = match_pair(exemplar, photo, rule, stop_below=FEWEST)
    of_exemplar, of_photo = pair.matches[pair.inlier_mask].T
    points = np.stack([photo.keypoints[of_photo, :2], exemplar.keypoints[of_exemplar, :2]], axis=1)
    if rule.cell:
        sides = np.array([[photo.longest_side], [exemplar.longest_side]])
        cells = np.floor(points / (sides / REFERENCE_SIDE * rule.cell))
        firsts = (np.unique(cells[:, i], axis=0, return_index=True)[1] for i in (0, 1))
        points = points[np.sort(min(firsts, key=len))]
    return pair.inliers, points

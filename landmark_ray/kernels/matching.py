"""Geometric verification of a pair of images: nearest descriptors, affine RANSAC, inlier count.

The procedure is DELF's (tensorflow/models, research/delf/delf/python/examples/match_images.py, and
the TF-Hub tutorial): nearest descriptors, one affine map by RANSAC, its inliers counted. Ours: the
residual scales with the image, maps that no camera makes are refused, and inliers count by place.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.features import UNIT, ImageFeatures
from landmark_ray.kernels.inliers import count_cells, enough_trials, is_plausible, verify
from landmark_ray.kernels.integer_matmul import int8_matmul

REFERENCE_SIDE = 512
"""Longest side, in pixels, that a rule's `residual` and `cell` refer to."""


@dataclass(frozen=True)
class MatchingRule:
    """What makes a match, and which matches count.

    Attributes:
        ratio: distance to the nearest descriptor over that to the second nearest, at most
            (Lowe 2004, section 7.1); 1 turns the test off.
        max_distance: descriptor distance, at most; 2, the largest there is, turns the test off.
        mutual: a match's descriptors must each be the other's nearest.
        vote: only matches count that turn and zoom about as most of the pair's matches do (see
            `consistent_mask`). For features whose keypoints have a diameter and an angle.
        residual: distance of an inlier from where the affine map puts it, at most, in pixels of an
            image with a longest side of 512.
        cell: inliers count once for each square cell of so many such pixels; 0 counts them all.
        share: of a pair's matches, at least so many must be inliers, else none count: repetitive
            facades have many matches, of which few agree by chance.
        plausible: refuse affine maps that no camera makes: mirrored, or beyond `inliers.MAX_ZOOM`
            and `inliers.MAX_STRETCH`.
        trials: RANSAC trials, at most.
    """

    ratio: float = 1.0
    max_distance: float = 2.0
    mutual: bool = True
    vote: bool = False
    residual: float = 12.0
    cell: float = 4.0
    share: float = 0.0
    plausible: bool = True
    trials: int = 1000

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        ranges = {
            "ratio": 0 < self.ratio <= 1,
            "max_distance": 0 < self.max_distance <= 2,
            "residual": 0 < self.residual < np.inf,
            "cell": 0 <= self.cell < np.inf,
            "share": 0 <= self.share <= 1,
            "trials": self.trials >= 1,
        }
        for name, fits in ranges.items():
            if not fits:
                raise ValueError(f"rule: {name} is out of range, got {getattr(self, name)}")

    @classmethod
    def sift(cls) -> "MatchingRule":
        """For RootSIFT, 2000 features sought at 640 px."""
        return cls(ratio=0.95, vote=True, residual=16.0, cell=4.0, share=0.15)

    @classmethod
    def delf(cls) -> "MatchingRule":
        """For DELF, 1000 features of 40 dimensions.

        Set on a stand-in for DELF's weights: check it when the released ones are used.
        """
        return cls(max_distance=0.73, residual=14.0, cell=6.0)

    @classmethod
    def delf_tutorial(cls) -> "MatchingRule":
        """The DELF tutorial's, which the reference cleaned its classes by: for comparison.

        Its 20 px are those of photos cropped to 256 px. It keeps much of the noise.
        """
        return cls(max_distance=0.8, mutual=False, residual=40.0, cell=0.0, plausible=False)

    def replace(self, **changes: Any) -> "MatchingRule":
        """The rule with some values changed."""
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Names and values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class PairResult:
    """Outcome of one pair of images.

    Attributes:
        matches: [K, 2] int32 features of the first image and of the second: the putative matches.
        inlier_mask: [K] which of them the affine map explains.
        inliers: how many those are, counted once a cell.
        affine: [2, 3] float64, from pixels (x, y) of the first image to those of the second; None
            where none was sought or found.
    """

    matches: NDArray[np.int32]
    inlier_mask: NDArray[np.bool_]
    inliers: int = 0
    affine: NDArray[np.float64] | None = None

    @property
    def putative(self) -> int:
        """K."""
        return len(self.matches)


def putative_matches(
    a: NDArray[np.int8],
    b: NDArray[np.int8],
    *,
    max_distance: float,
    ratio: float,
    mutual: bool,
) -> NDArray[np.int32]:
    """Match each descriptor of `a` with its nearest one of `b`, by Euclidean distance.

    Args:
        a: [N, D] as `features.quantise` makes them.
        b: [M, D] likewise.
        max_distance: of a match, at most, as of descriptors of unit length; 2 lets all pass.
        ratio: nearest to second-nearest distance, at most; 1 lets all pass, as does M = 1.
        mutual: keep a match only if its row of `a` is the nearest, too, of its row of `b`.

    Returns:
        [K, 2] int32 rows of `a` and `b`, in order of `a`. The first of equally near ones is taken.
        All is worked out in whole numbers: equal arguments give equal matches on every machine.
    """
    if not len(a) or not len(b):
        return np.zeros((0, 2), np.int32)
    product = int8_matmul(a, b)
    of_a, of_b = np.arange(len(a)), product.argmax(1)
    best = product[of_a, of_b]
    keep = _squared_distance(best) <= max_distance**2 * UNIT**2
    if mutual:
        keep &= best == product.max(0)[of_b]
    if ratio < 1 and len(b) > 1:
        product[of_a, of_b] = np.iinfo(np.int32).min
        keep &= _squared_distance(best) <= ratio**2 * _squared_distance(product.max(1))
    matches = np.stack([of_a, of_b], 1)[keep].astype(np.int32)
    return _first_of_each(matches) if mutual else matches


def consistent_mask(
    keypoints_a: NDArray[np.float32], keypoints_b: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Which matches turn and zoom as most do: weak geometric consistency.

    A match of two keypoints says by itself how much the second photo is turned and enlarged. The
    right matches of a pair agree about it, the chance ones do not, and may be many: so the test on
    descriptors can be loose. Source: Jegou, Douze, Schmid (ECCV 2008).

    Args:
        keypoints_a: [K, 4] (x, y, diameter, angle) of the matches in the first image.
        keypoints_b: [K, 4] in the second. Diameters in any unit that is the same in both.

    Returns:
        [K] whether a match turns by at most 30 degrees more or less than the fullest of the windows
        of 60 degrees and a factor of 2 in zoom that lie half a window apart, and zooms by at most
        twice or half as much.
    """
    turn = np.radians(keypoints_b[:, 3] - keypoints_a[:, 3]) % (2 * np.pi)
    zoom = np.log2(keypoints_b[:, 2] / keypoints_a[:, 2])
    row = (turn // (np.pi / 6)).astype(int) % 12
    column = np.clip(np.floor(2 * zoom + 0.5), -6, 6).astype(int) + 6
    counts = np.bincount(13 * row + column, minlength=12 * 13).reshape(12, 13)
    windows = counts + np.roll(counts, -1, axis=0)
    windows = windows[:, :-1] + windows[:, 1:]
    best_row, best_column = np.unravel_index(windows.argmax(), windows.shape)
    off_turn = np.abs((turn - (best_row + 1) * np.pi / 6 + np.pi) % (2 * np.pi) - np.pi)
    off_zoom = np.abs(zoom - (best_column - 5.5) / 2)
    return np.asarray((off_turn < np.pi / 6) & (off_zoom < 1))


def match_pair(
    a: ImageFeatures, b: ImageFeatures, rule: MatchingRule, *, stop_below: int, seed: int = 0
) -> PairResult:
    """Verify a pair of images.

    Args:
        a: the image with the smaller id; a pair is always matched in this order.
        b: the other one.
        rule: what makes a match, and which count.
        stop_below: RANSAC is skipped for fewer putative matches, and 0 inliers are reported: so
            few can't give `stop_below` inliers.
        seed: of RANSAC; equal arguments give an equal result, to the last bit.
    """
    matches = putative_matches(
        a.descriptors,
        b.descriptors,
        max_distance=rule.max_distance,
        ratio=rule.ratio,
        mutual=rule.mutual,
    )
    unit_a, unit_b = a.longest_side / REFERENCE_SIDE, b.longest_side / REFERENCE_SIDE
    points_a = _in_units(a.keypoints[matches[:, 0]], unit_a)
    points_b = _in_units(b.keypoints[matches[:, 1]], unit_b)
    if rule.vote and len(matches):
        agree = consistent_mask(points_a, points_b)
        matches, points_a, points_b = matches[agree], points_a[agree], points_b[agree]
    nothing = PairResult(matches, np.zeros(len(matches), bool))
    least = max(stop_below, 3, rule.share * len(matches))  # three make an affine map
    if len(matches) < least:
        return nothing
    points_a, points_b = points_a[:, :2], points_b[:, :2]
    affine, inlier = verify(
        points_a,
        points_b,
        residual_px=rule.residual,
        trials=min(rule.trials, enough_trials(least, len(matches))),
        seed=seed,
    )
    if affine is None or (rule.plausible and not is_plausible(affine)):
        return nothing
    cells = min(count_cells(points_a[inlier], rule.cell), count_cells(points_b[inlier], rule.cell))
    if cells < rule.share * len(matches):
        return nothing
    to_pixels = np.array([unit_b / unit_a, unit_b / unit_a, unit_b])
    return PairResult(matches, inlier, cells, affine * to_pixels)


def pair_seed(image_a: str, image_b: str, seed: int = 0) -> int:
    """RANSAC's seed for a pair, image_a < image_b: random in the ids and the run's seed only."""
    text = f"{seed}|{image_a}|{image_b}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little") >> 1


def _in_units(keypoints: NDArray[np.float32], unit: float) -> NDArray[np.float32]:
    """Keypoints [K, 2 or 4] with places and diameters in other units than pixels."""
    per_unit = np.array([unit, unit, unit, 1], np.float32)
    return np.asarray(keypoints / per_unit[: keypoints.shape[1]], np.float32)


def _squared_distance(product: NDArray[np.int32]) -> NDArray[np.int64]:
    """Of descriptors of length UNIT, from their scalar product; rounding adds nothing."""
    return np.clip(2 * (UNIT**2 - product.astype(np.int64)), 0, 4 * UNIT**2)


def _first_of_each(matches: NDArray[np.int32]) -> NDArray[np.int32]:
    """One match for each row of b, for rows of a that are equally near."""
    first = np.unique(matches[:, 1], return_index=True)[1]
    return matches[np.sort(first)]

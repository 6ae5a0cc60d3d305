"""Geometric verification of a pair of images: nearest descriptors, affine RANSAC, inlier count.

The procedure is that of DELF (tensorflow/models, research/delf/delf/python/examples/match_images.py
and the TF-Hub tutorial): match nearest descriptors, find one affine map by RANSAC, count its
inliers. Three things are different here: the residual scales with the image, maps that no camera
makes are refused, and inliers in the same place count as one.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.features import ImageFeatures
from landmark_ray.kernels.inliers import count_cells, enough_trials, is_plausible, verify
from landmark_ray.kernels.putative import putative_matches

REFERENCE_SIDE = 512
"""Longest side of the image, in pixels, to which `residual` and `cell` of a rule refer."""


@dataclass(frozen=True)
class MatchingRule:
    """Which descriptors match, and which matches count as inliers.

    Attributes:
        ratio: Largest ratio of the distances to the nearest and to the second-nearest descriptor
            (Lowe 2004, section 7.1); 1 turns the test off.
        max_distance: Largest distance of matching descriptors; 2, which is the largest possible
            distance, turns the test off.
        mutual: Each descriptor of a match must be the other's nearest.
        vote: Only matches count whose rotation and zoom agree with most matches of the pair (see
            `consistent_mask`). The keypoints need a diameter and an angle.
        residual: Largest distance of an inlier from its mapped point, in pixels of an image with a
            longest side of 512.
        cell: Inliers in the same square cell count as one; side of a cell in pixels of an image
            with a longest side of 512. 0 counts every inlier.
        share: Smallest share of a pair's matches that must be inliers, or else the pair has 0
            inliers. Repetitive facades have many matches, of which a few agree by chance.
        plausible: Refuse affine maps that no camera makes: those that mirror, or exceed
            `inliers.MAX_ZOOM` or `inliers.MAX_STRETCH`.
        trials: Largest number of RANSAC trials.
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
        """Return the rule for RootSIFT with up to 2000 features at a longest side of 640 px."""
        return cls(ratio=0.95, vote=True, residual=16.0, cell=4.0, share=0.15)

    @classmethod
    def delf(cls) -> "MatchingRule":
        """Return the rule for DELF with up to 1000 features of 40 dimensions.

        Its values were set with a stand-in for DELF's weights; check them with the released ones.
        """
        return cls(max_distance=0.73, residual=14.0, cell=6.0)

    @classmethod
    def xfeat(cls) -> "MatchingRule":
        """Return the rule for XFeat with up to 1024 features at a longest side of 640 px.

        Matches of XFeat lie close together along edges; therefore the cells are large.
        """
        return cls(ratio=0.95, max_distance=0.65, residual=6.0, cell=20.0)

    @classmethod
    def aliked(cls) -> "MatchingRule":
        """Return the rule for ALIKED-n16 with up to 1024 features at a longest side of 640 px."""
        return cls(ratio=0.9, max_distance=0.95, residual=6.0, cell=16.0)

    @classmethod
    def delf_tutorial(cls) -> "MatchingRule":
        """Return the rule of the DELF tutorial, with which the reference solution was cleaned.

        It is for comparison: it keeps much of the noise. Its 20 px refer to photos of 256 px.
        """
        return cls(max_distance=0.8, mutual=False, residual=40.0, cell=0.0, plausible=False)

    def replace(self, **changes: Any) -> "MatchingRule":
        """Return the rule with some values changed."""
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as a dict."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class PairResult:
    """Outcome of one pair of images.

    Attributes:
        matches: [K, 2] int32 feature numbers in the first and in the second image: the putative
            matches.
        inlier_mask: [K] bool; the inliers of the affine map among the matches.
        inliers: Number of inliers; those in the same cell count as one.
        affine: [2, 3] float64 map from pixels (x, y) of the first image to pixels of the second;
            None if no map was sought or found.
    """

    matches: NDArray[np.int32]
    inlier_mask: NDArray[np.bool_]
    inliers: int = 0
    affine: NDArray[np.float64] | None = None

    @property
    def putative(self) -> int:
        """Number K of putative matches."""
        return len(self.matches)


def consistent_mask(
    keypoints_a: NDArray[np.float32], keypoints_b: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Find the matches whose rotation and zoom agree with most others: weak geometric consistency.

    A match of two keypoints says by itself how much the second photo is rotated and enlarged. The
    right matches of a pair agree on this, and chance matches do not. There may be many of these, so
    the test on descriptors can be loose. Source: Jegou, Douze, Schmid (ECCV 2008).

    Args:
        keypoints_a: [K, 4] (x, y, diameter, angle) of the matches in the first image; diameters in
            any unit that is the same in both images, angles in degrees.
        keypoints_b: [K, 4] the same of the second image.

    Returns:
        [K] bool mask. Windows of 60 degrees and a factor of 2 in zoom are half a window apart. A
        match is consistent if its rotation is within 30 degrees, and its zoom within a factor of 2,
        of the centre of the window that holds most matches.
    """
    turn = np.radians(keypoints_b[:, 3] - keypoints_a[:, 3]) % (2 * np.pi)
    zoom = np.log2(keypoints_b[:, 2] / keypoints_a[:, 2])
    row = (turn // (np.pi / 6)).astype(int) % 12
    column = np.clip(np.floor(2 * zoom + 0.5), -6, 6).astype(int) + 6
    counts = np.bincount(13 * row + column, minlength=12 * 13).reshape(12, 13)
    windows = counts + counts[np.arange(-11, 1)]  # each turn and the next one
    windows = windows[:, :-1] + windows[:, 1:]
    best_row, best_column = divmod(windows.argmax(), 12)
    off_turn = np.abs((turn - (best_row + 1) * np.pi / 6 + np.pi) % (2 * np.pi) - np.pi)
    off_zoom = np.abs(zoom - (best_column - 5.5) / 2)
    return np.asarray((off_turn < np.pi / 6) & (off_zoom < 1))


def match_pair(
    a: ImageFeatures, b: ImageFeatures, rule: MatchingRule, *, stop_below: int, seed: int = 0
) -> PairResult:
    """Verify a pair of images.

    Args:
        a: The image with the smaller id; a pair is always matched in this order.
        b: The other image.
        rule: Which descriptors match, and which matches count.
        stop_below: With fewer putative matches, RANSAC is skipped and 0 inliers are returned,
            because there cannot be `stop_below` inliers.
        seed: Seed of RANSAC; equal arguments give an equal result, to the last bit.
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
    min_matches = max(stop_below, 3, rule.share * len(matches))  # an affine map needs three
    if len(matches) < min_matches:
        return nothing
    points_a, points_b = points_a[:, :2], points_b[:, :2]
    affine, inlier = verify(
        points_a,
        points_b,
        residual_px=rule.residual,
        trials=min(rule.trials, enough_trials(min_matches, len(matches))),
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
    """Return the seed of RANSAC for a pair: a hash of the ids and of the run's seed, 31 bits."""
    text = f"{seed}|{image_a}|{image_b}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little") >> 1


def _in_units(keypoints: NDArray[np.float32], unit: float) -> NDArray[np.float32]:
    """Convert positions and diameters of keypoints [K, 2 or 4] from pixels to other units."""
    per_unit = np.array([unit, unit, unit, 1], np.float32)
    return np.asarray(keypoints / per_unit[: keypoints.shape[1]], np.float32)

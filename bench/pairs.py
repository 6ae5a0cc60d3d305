"""How long one pair of images takes to match, by `match_pair` and by the DELF tutorial's method."""

import collections
import functools
import itertools
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from unittest import mock

import numpy as np
from common import Figure
from scipy.spatial import cKDTree
from skimage.measure import ransac
from skimage.transform import AffineTransform

from landmark_ray.kernels import matching
from landmark_ray.kernels.features import UNIT, ImageFeatures, quantise
from landmark_ray.kernels.inliers import verify
from landmark_ray.kernels.integer_matmul import product_blocks
from landmark_ray.kernels.matching import MatchingRule, match_pair
from landmark_ray.kernels.putative import putative_matches

TUTORIAL = "`cKDTree` and `skimage.measure.ransac`"
INLIERS = 11
"""Of a pair that verifies, the default of --match.min_inliers."""

ROUNDS = 7
SHORT = 64
SHORT_RULE = MatchingRule.xfeat()
"""The descriptors of XFeat have 64 numbers, too."""

Pair = tuple[ImageFeatures, ImageFeatures]


def figures_of_pair(key: str, name: str) -> dict[str, Figure]:
    """What `pair_figures` measures."""
    parts = {
        "pair_ms": "time of a pair",
        "product_ms": "of which for products of descriptors",
        "nearest_ms": "of which for matches by these products",
        "ransac_ms": "of which for RANSAC",
    }
    return {
        f"{key}_pair": Figure(
            f"matching a pair of images, 1,000 features of {name} each",
            TUTORIAL,
            "times as fast",
            least=150,
        ),
        **{
            f"{key}_{part}": Figure(f"{what}, {name}", unit="ms", quoted=False)
            for part, what in parts.items()
        },
    }


def tutorial(a: ImageFeatures, b: ImageFeatures) -> int:
    """Inliers by the tutorial's method."""
    tree = cKDTree(a.descriptors.astype(np.float32) / UNIT)
    _, nearest = tree.query(b.descriptors.astype(np.float32) / UNIT, distance_upper_bound=0.8)
    near = nearest < len(a.descriptors)
    points = b.keypoints[near, :2], a.keypoints[nearest[near], :2]
    if near.sum() < 4:
        return 0
    _, inliers = ransac(
        points, AffineTransform, min_samples=3, residual_threshold=20, max_trials=1000
    )
    return 0 if inliers is None else int(inliers.sum())


def seconds(action: Callable[..., object], *args: object, **options: object) -> float:
    """What an action takes."""
    begun = time.perf_counter()
    action(*args, **options)
    return time.perf_counter() - begun


def chosen_pairs(
    classes: Iterable[Sequence[ImageFeatures]], features: int, count: int
) -> list[Pair]:
    """Some pairs of images of one landmark, each image with its `features` strongest features."""
    pairs: list[Pair] = []
    for images in classes:
        most = [
            ImageFeatures(f.keypoints[:features], f.descriptors[:features], f.longest_side)
            for f in images
            if len(f.keypoints) >= features
        ]
        pairs += itertools.combinations(most, 2)
    return random.Random(0).sample(pairs, count)


def shortened(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs with descriptors of `SHORT` numbers: the first principal components."""
    rows = np.concatenate([f.descriptors for pair in pairs for f in pair]).astype(np.float32)
    mean = rows.mean(0)
    axes = np.linalg.eigh(np.cov(rows.T))[1][:, : -SHORT - 1 : -1].astype(np.float32)

    def short(f: ImageFeatures) -> ImageFeatures:
        return ImageFeatures(
            np.ascontiguousarray(f.keypoints[:, :2]),
            quantise((f.descriptors - mean) @ axes),
            f.longest_side,
        )

    return [(short(a), short(b)) for a, b in pairs]


def pair_figures(key: str, pairs: Sequence[Pair], rule: MatchingRule) -> dict[str, float]:
    """How much faster than by the tutorial's method pairs are matched, and what takes the time.

    Each round goes through all pairs, as the stage `match` does. Of a pair's rounds, the median
    counts.
    """
    theirs = 1000 * statistics.mean(seconds(tutorial, *pair) for pair in pairs)
    test = {"max_distance": rule.max_distance, "ratio": rule.ratio, "mutual": rule.mutual}
    match = functools.partial(match_pair, rule=rule, stop_below=INLIERS)
    parts: dict[str, Callable[[ImageFeatures, ImageFeatures], float]] = {
        "pair": functools.partial(seconds, match),
        "product": lambda a, b: seconds(
            collections.deque, product_blocks(a.descriptors, b.descriptors), maxlen=0
        ),
        "putative": lambda a, b: seconds(putative_matches, a.descriptors, b.descriptors, **test),
        "ransac": lambda a, b: in_ransac(lambda: match(a, b)),
    }
    rounds: dict[str, list[list[float]]] = {part: [] for part in parts}
    for _ in range(ROUNDS + 1):
        for part, timed in parts.items():
            rounds[part].append([timed(*pair) for pair in pairs])
    ms = {  # without the first round, in which libraries get ready
        part: 1000 * statistics.mean(map(statistics.median, zip(*times[1:], strict=True)))
        for part, times in rounds.items()
    }
    print(
        f"{key}: {theirs:,.0f} ms and {ms['pair']:.2f} ms, of which {ms['product']:.2f} for "
        f"products, {ms['putative'] - ms['product']:.2f} for matches by these, and "
        f"{ms['ransac']:.2f} for RANSAC",
        file=sys.stderr,
    )
    return {
        f"{key}_pair": theirs / ms["pair"],
        f"{key}_pair_ms": ms["pair"],
        f"{key}_product_ms": ms["product"],
        f"{key}_nearest_ms": ms["putative"] - ms["product"],
        f"{key}_ransac_ms": ms["ransac"],
    }


def in_ransac(action: Callable[[], object]) -> float:
    """The part of what an action takes that `match_pair` spends in RANSAC."""
    took = [0.0]

    def timed(*args, **options):
        begun = time.perf_counter()
        found = verify(*args, **options)
        took.append(time.perf_counter() - begun)
        return found

    with mock.patch.object(matching, "verify", timed):
        action()
    return sum(took)

"""What matching keeps of real photographs, and how fast it is against the DELF tutorial's method.

gld-mini, whose `truth.csv` (id, landmark_id, kind) says which photos show their landmark, runs
through the pipeline to `match` with RootSIFT and with DELF, every pair matched, all other options
at their defaults.

1. An image is kept when a partner of its landmark verifies it. As many images as possible of kind
   `photo` should be kept, and none of kind `noise`. Options were chosen mostly on every second
   landmark, so the share of the other landmarks' photos is shown separately.
2. Pairs of one landmark, 1,000 features for each image, against the tutorial's method, in one
   thread: `scipy.spatial.cKDTree`, descriptors at most 0.8 apart, then `skimage.measure.ransac`
   with an affine map, a residual of 20 pixels and 1,000 trials. Descriptors have 128 numbers
   (RootSIFT), 64 (RootSIFT's principal components, by the rule for XFeat) and 40 (DELF).
3. A landmark of 500 photographs, of which 75 match no other of their landmark: the stage `match` in
   one task, against the tutorial's method on every pair (timed on some of them). On gld-mini, the
   stage must keep the same images as by every pair.

    python bench/matching.py [--smoke]

6 minutes.
"""

import itertools
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import pandas as pd
from common import (
    CORES,
    DELF_STANDIN,
    GEOMETRY_ALONE,
    Figure,
    Photo,
    photographs,
    run,
    run_stages,
    source_folder,
    write_source,
)
from pairs import (
    INLIERS,
    SHORT,
    SHORT_RULE,
    TUTORIAL,
    chosen_pairs,
    figures_of_pair,
    pair_figures,
    seconds,
    shortened,
    tutorial,
)
from threadpoolctl import threadpool_limits

from landmark_ray.data.lookup import image_features
from landmark_ray.data.root import Root
from landmark_ray.kernels.features import ImageFeatures
from landmark_ray.kernels.matching import MatchingRule
from landmark_ray.runtime import ledger

EXTRACTORS: dict[str, tuple[object, ...]] = {
    "sift": (),
    "delf": ("--extract.extractor", "delf", "--extract.handle", DELF_STANDIN),
}
RULES = {"sift": MatchingRule.sift, "delf": MatchingRule.delf}
NAMES = {"sift": "RootSIFT", "delf": "DELF's stand-in"}
LEAST_KEPT = {"sift": 0.93, "delf": 0.97}
EVERY_PAIR = ("--match.mode", "exhaustive")
ONE_TASK = ("--match.task_pairs", 10**9, "--match.cpus", CORES)


def figures_of(extractor: str) -> dict[str, Figure]:
    """What is measured with an extractor."""
    name = NAMES[extractor]
    kept = LEAST_KEPT[extractor]
    return {
        f"{extractor}_photos": Figure(f"share of true photos of gld-mini kept, {name}", least=kept),
        f"{extractor}_others": Figure(
            f"share of true photos kept of landmarks that no option was chosen on, {name}",
            least=kept - 0.03,
            quoted=False,
        ),
        f"{extractor}_noise": Figure(f"share of noise of gld-mini kept, {name}", most=0.01),
        **figures_of_pair(extractor, name),
    }


FIGURES = {
    **figures_of("sift"),
    **figures_of("delf"),
    **figures_of_pair("short", f"{SHORT} numbers"),
    "class": Figure(
        "matching a landmark of 500 photos, 15% unmatched",
        f"every pair by {TUTORIAL}",
        "times as fast",
        least=1000,
    ),
    "same": Figure(
        "whether the same images of gld-mini are kept", "matching every pair", least=1, quoted=False
    ),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        smoke: whether the photographs are the toy's.
        extractors: that are compared.
        pairs: that are timed.
        features: of each of their images.
        verified: photos of the large class that match another.
        unmatched: photos of it that match none.
    """

    smoke: bool
    extractors: tuple[str, ...]
    pairs: int
    features: int
    verified: int
    unmatched: int


def best_inliers(root: Root, image_ids: "pd.Index[str]") -> pd.Series:
    """The most inliers that each image has with any other of its class; 0 without any."""
    pairs = root.dataset("pairs").to_table(["image_a", "image_b", "inliers"]).to_pandas()
    sides = [pairs.set_index(side).inliers for side in ("image_a", "image_b")]
    best = pd.concat(sides).groupby(level=0).max()
    return best.reindex(image_ids, fill_value=0)


def shares(root: Root, source: Path) -> dict[str, float]:
    """Of the photos and of the noise, how much is kept."""
    truth = pd.read_csv(source / "truth.csv", dtype={"id": str}).set_index("id")
    kept = best_inliers(root, truth.index) >= INLIERS
    photo = truth.kind == "photo"
    tuned = truth.landmark_id.isin(sorted(truth.landmark_id[photo].unique())[::2])
    return {
        "photos": float(kept[photo].mean()),
        "others": float(kept[photo & ~tuned].mean()),
        "noise": float(kept[truth.kind == "noise"].mean()),
    }


def features_of(root: Root) -> dict[int, list[ImageFeatures]]:
    """Landmark -> the features of its images."""
    features: dict[int, list[ImageFeatures]] = {}
    for row in root.dataset("features").to_table().to_pylist():
        features.setdefault(row["landmark_id"], []).append(image_features(row))
    return features


def large_class(root: Root, photos: Sequence[Photo], size: Size) -> list[Photo]:
    """Photos for one landmark: some that match another photo of theirs, some that match none.

    Raises:
        ValueError: there are too few for that.
    """
    mine = [photo for photo in sorted(photos, key=lambda p: (p.landmark_id, p.image_id))]
    used = set(root.dataset("features").to_table(["image_id"])["image_id"].to_pylist())
    best = best_inliers(root, pd.Index([p.image_id for p in mine]))
    matched = [p for p in mine if best[p.image_id] >= INLIERS]
    unmatched = [p for p in mine if p.image_id in used and best[p.image_id] < INLIERS]
    if len(matched) < size.verified or len(unmatched) < size.unmatched:
        raise ValueError(f"{len(matched)} photos match another one, {len(unmatched)} match none")
    chosen = matched[: size.verified] + unmatched[: size.unmatched]
    return [Photo(photo.image_id, 1, photo.data) for photo in chosen]


def kept_in(root: Root) -> set[str]:
    """Images that stay."""
    rows = root.dataset("kept").to_table(["image_id", "keep"]).to_pandas()
    return set(rows.image_id[rows.keep])


def same_kept(words: Sequence[object]) -> float:
    """Whether the same images are kept as by every pair, which are all matched already."""
    kept = []
    for more in (EVERY_PAIR, ("--redo", "match")):
        _, root = run_stages([*words, *more], "match", "prune")
        kept.append(kept_in(root))
    return float(kept[0] == kept[1])


def class_speedup(photos: Sequence[Photo], size: Size, folder: Path) -> float:
    """How much faster the stage match is on one large class than the tutorial on every pair."""
    write_source([photos], folder / "source")
    words = ["--source", folder / "source", "--root", folder / "root", *ONE_TASK]
    _, root = run_stages(words, "sample", "match")
    took = float((ledger.read(root, "match") or {})["seconds"])
    (features,) = features_of(root).values()
    pairs = list(itertools.combinations(features, 2))
    timed = random.Random(1).sample(pairs, size.pairs)
    theirs = len(pairs) * statistics.mean(seconds(tutorial, *pair) for pair in timed)
    print(f"{len(features)} images: {theirs:,.0f} s and {took:.1f} s", file=sys.stderr)
    return theirs / took


def measure(size: Size, folder: Path) -> dict[str, float]:
    """All three parts, on one root for each extractor."""
    source = source_folder(size.smoke)
    figures: dict[str, float] = {}
    threads = cv2.getNumThreads()
    for extractor in size.extractors:
        print(f"extractor {extractor}", file=sys.stderr)
        words = ["--source", source, "--root", folder / extractor, *GEOMETRY_ALONE]
        words += EXTRACTORS[extractor]
        _, root = run_stages([*words, *EVERY_PAIR], "sample", "match")
        figures |= {f"{extractor}_{n}": v for n, v in shares(root, source).items()}
        cv2.setNumThreads(1)
        with threadpool_limits(1):
            pairs = chosen_pairs(features_of(root).values(), size.features, size.pairs)
            figures |= pair_figures(extractor, pairs, RULES[extractor]())
            if extractor == "sift":
                figures |= pair_figures("short", shortened(pairs), SHORT_RULE)
                photos = large_class(root, photographs(source), size)
                figures["class"] = class_speedup(photos, size, folder / "class")
                figures["same"] = same_kept(words)
        cv2.setNumThreads(threads)
    return figures


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(False, ("sift", "delf"), pairs=20, features=1000, verified=425, unmatched=75),
        smoke=Size(True, ("sift",), pairs=2, features=100, verified=10, unmatched=2),
        without=lambda size: () if "delf" in size.extractors else figures_of("delf"),
    )

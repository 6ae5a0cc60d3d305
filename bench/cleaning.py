"""What geometry keeps with each extractor's rule, on landmarks that rules were tuned on and others.

Photos and noise of each dataset are matched inside each landmark, as `match` does. A photo is kept
when one other photo of its landmark verifies it. Then pairs of photos of different landmarks are
matched, of which none should verify. `truth.csv` says what each photo shows. Every second landmark
of each dataset was there when the rules were tuned; the figures are of the other landmarks. The
table has both, and counts photos of one other place that verify each other ("album") apart from
noise, as geometry cannot know better.

    python bench/cleaning.py [--smoke | --large]

7 minutes for RootSIFT and XFeat; `--large` also has ALIKED, whose features take 10 minutes more.
"""

import itertools
import multiprocessing
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import pandas as pd
from common import CORES, GLD_MINI, SHARED, Figure, Photo, photographs, report, run, source_folder

from landmark_ray.config.verification import ExtractConfig, MatchConfig
from landmark_ray.kernels.features import ImageFeatures, quantise
from landmark_ray.kernels.image import Limits, decode, normalise
from landmark_ray.kernels.matching import match_pair, pair_seed
from landmark_ray.kernels.pair_schedule import VerifiedPairs, verify_until_decided
from landmark_ray.stages.extract import load_model, sift_features

MODELS = SHARED / "models"
SETS = {"mini": GLD_MINI, "scenes": GLD_MINI.parent / "gld-scenes"}
EXTRACTORS = {
    "sift": ExtractConfig(),
    "xfeat": ExtractConfig(extractor="xfeat", handle=str(MODELS / "xfeat.onnx")),
    "aliked": ExtractConfig(extractor="aliked", handle=str(MODELS / "aliked_n16.onnx")),
}
SIFT = "RootSIFT"
NAMES = {"sift": SIFT, "xfeat": "XFeat", "aliked": "ALIKED"}
MATCH = MatchConfig()
LANDMARKS = "landmarks that no rule was tuned on: "

Features = dict[str, ImageFeatures]
"""Image id -> its features."""


def figures_of(extractor: str) -> dict[str, Figure]:
    """What is measured with an extractor."""
    name = NAMES[extractor]
    return {
        f"{extractor}_photos": Figure(f"{LANDMARKS}share of true photos kept, {name}"),
        f"{extractor}_noise": Figure(f"{LANDMARKS}share of noise kept, {name}", most=0.02),
        f"{extractor}_different": Figure(
            f"{LANDMARKS}share of the pairs of different landmarks that verify, {name}", most=0.001
        ),
    }


FIGURES = {
    **figures_of("sift"),
    **figures_of("xfeat"),
    **figures_of("aliked"),
    "gain": Figure(f"{LANDMARKS}share of true photos kept: XFeat minus RootSIFT", least=0.06),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        extractors: that are compared.
        different: pairs of photos of different landmarks in each half of the landmarks.
        sources: name -> dataset; none for the toy.
    """

    extractors: tuple[str, ...]
    different: int
    sources: dict[str, Path] = field(default_factory=dict)


def labelled(name: str, source: Path) -> pd.DataFrame:
    """The photos and the noise of a dataset, and whether rules were tuned on their landmark."""
    truth = pd.read_csv(source / "truth.csv", dtype={"id": str}, keep_default_na=False)
    truth = truth[truth.kind.isin(["photo", "noise"])]
    tuned = truth.landmark_id.isin(sorted(truth.landmark_id.unique())[::2])
    kind = truth.kind.where(truth.detail != "album", "album")
    return truth.assign(dataset=name, tuned=tuned, kind=kind)


def extracted(options: ExtractConfig, photos: Sequence[Photo]) -> Features:
    """The features of photos, as the stages `ingest` and `extract` make them."""
    cv2.setNumThreads(1)
    features: Features = {}
    model = None if options.extractor == "sift" else load_model(options, threads=1, gpu=False)
    for photo in photos:
        image = normalise(photo.data, Limits())
        if model is None:
            points, descriptors = sift_features(image.jpeg, options)
        else:
            points, floats = model(decode(image.jpeg))
            descriptors = quantise(floats)
        side = max(image.width, image.height)
        features[photo.image_id] = ImageFeatures(points, descriptors, side)
    return features


def verified_images(features: Features, extractor: str) -> set[str]:
    """The images of one landmark that another of its images verifies."""
    cv2.setNumThreads(1)
    ids = sorted(features)
    verified = VerifiedPairs(MATCH.min_inliers, MATCH.min_partners)
    verify_until_decided(
        range(len(ids)),
        lambda a, b: inliers(features, extractor, ids[a], ids[b]),
        lambda image: (other for other in range(len(ids)) if other != image),
        verified,
    )
    return {image_id for number, image_id in enumerate(ids) if verified.verified(number)}


def inliers(features: Features, extractor: str, a: str, b: str) -> int:
    """The inliers of a pair."""
    rule, least = MATCH.rule(extractor), MATCH.min_inliers
    pair = features[a], features[b]
    return match_pair(*pair, rule, stop_below=least, seed=pair_seed(a, b)).inliers


def verified_pairs(work: tuple[Features, list[tuple[str, str]]], extractor: str) -> int:
    """The number of pairs that verify."""
    cv2.setNumThreads(1)
    features, pairs = work
    return sum(inliers(features, extractor, a, b) >= MATCH.min_inliers for a, b in pairs)


def different_pairs(photos: pd.DataFrame, count: int) -> list[tuple[str, str]]:
    """At most `count` pairs of photos of different landmarks, each in the order of its ids."""
    photos = photos.sort_values("id")
    rows = zip(photos.id, photos.landmark_id, strict=True)
    pairs = [(a, b) for (a, x), (b, y) in itertools.combinations(rows, 2) if x != y]
    return random.Random(0).sample(pairs, min(count, len(pairs)))


def parts(
    pairs: list[tuple[str, str]], features: Features, size: int = 250
) -> Iterator[tuple[Features, list[tuple[str, str]]]]:
    """Parts of some pairs, each with its features."""
    for begin in range(0, len(pairs), size):
        part = pairs[begin : begin + size]
        yield {i: features[i] for pair in part for i in pair}, part


def evaluate(
    extractor: str, truth: pd.DataFrame, photos: Sequence[Photo], different: int
) -> pd.DataFrame:
    """Shares of each kind that are kept, and of the pairs of different landmarks that verify.

    Returns:
        A row for each dataset and half of the landmarks, and one for each half as a whole.
    """
    with multiprocessing.get_context("spawn").Pool(CORES) as pool:
        chunks = [photos[i::8] for i in range(8)]
        made = pool.map(partial(extracted, EXTRACTORS[extractor]), chunks, 1)
        features = {image_id: f for part in made for image_id, f in part.items()}
        print(f"{extractor}: features of {len(features)} photos", file=sys.stderr)
        classes = [{i: features[i] for i in ids} for _, ids in truth.groupby("landmark_id").id]
        classes.sort(key=len, reverse=True)
        kept = pool.map(partial(verified_images, extractor=extractor), classes, 1)
        truth = truth.assign(kept=truth.id.isin(set().union(*kept)))
        rows = []
        for (tuned, *dataset), group in [
            *truth.groupby(["tuned", "dataset"]),
            *truth.groupby(["tuned"]),
        ]:
            pairs = different_pairs(group[group.kind == "photo"], different)
            work = parts(pairs, features)
            count = sum(pool.imap_unordered(partial(verified_pairs, extractor=extractor), work))
            shares = group.groupby("kind").kept.mean()
            rows.append(
                {
                    "tuned": tuned,
                    "dataset": dataset[0] if dataset else "all",
                    **shares.reindex(["photo", "noise", "album"]).to_dict(),
                    "different": count / max(len(pairs), 1),
                }
            )
    return pd.DataFrame(rows)


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Every extractor on all datasets."""
    sources = size.sources or {"toy": source_folder(smoke=True)}
    truth = pd.concat([labelled(name, source) for name, source in sources.items()])
    wanted = set(truth.id)
    photos = [p for source in sources.values() for p in photographs(source) if p.image_id in wanted]
    figures: dict[str, float] = {}
    lines = []
    for extractor in size.extractors:
        rows = evaluate(extractor, truth, photos, size.different)
        for row in rows.to_dict("records"):
            half = "tuned on" if row["tuned"] else "others"
            shares = [row[kind] for kind in ("photo", "noise", "album")]
            shown = ["" if share != share else f"{share:.3f}" for share in shares]
            lines.append([f"{NAMES[extractor]}, {row['dataset']}, {half}", *shown])
            lines[-1].append(f"{1000 * row['different']:.2f}")
        others = rows[~rows.tuned & (rows.dataset == "all")].iloc[0].fillna(0)
        figures[f"{extractor}_photos"] = others.photo
        figures[f"{extractor}_noise"] = others.noise
        figures[f"{extractor}_different"] = others.different
    if "xfeat" in size.extractors:
        figures["gain"] = figures["xfeat_photos"] - figures["sift_photos"]
    columns = [
        "extractor, dataset, landmarks",
        "photos kept",
        "noise",
        "album",
        "different, of 1000",
    ]
    report("Geometry alone", columns, lines)
    return figures


def without(size: Size) -> list[str]:
    """Figures of the extractors that a size lacks."""
    left = [name for e in EXTRACTORS if e not in size.extractors for name in figures_of(e)]
    return left if "xfeat" in size.extractors else [*left, "gain"]


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(("sift", "xfeat"), different=2_500, sources=SETS),
        large=Size(("sift", "xfeat", "aliked"), different=20_000, sources=SETS),
        smoke=Size(("sift",), different=20),
        without=without,
    )

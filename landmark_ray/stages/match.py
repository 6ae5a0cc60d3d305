"""match: geometric verification of the pairs of each class."""

from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
from ray.data import Dataset

from landmark_ray import schemas
from landmark_ray.config import Config
from landmark_ray.funnel import Funnel
from landmark_ray.kernels import schedule
from landmark_ray.kernels.features import ImageFeatures
from landmark_ray.kernels.matching import PairResult, Rule, match_pair
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.kernels.sift import root_sift
from landmark_ray.sources import Source
from landmark_ray.stages.shards import Row, once, run_over_shards
from landmark_ray.storage import Tables

READS = ("extract",)
WRITES = ("pairs",)


def inputs(source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {}


def run(config: Config, tables: Tables, source: Source) -> Funnel:
    """Write `pairs`."""
    return run_over_shards(
        "match", "pairs", tables, config, lambda units: plan(units, config, tables)
    )


def plan(units: Dataset, config: Config, tables: Tables) -> Dataset:
    """Units to reports."""

    def match_shard(unit: Row) -> Row:
        cv2.setNumThreads(1)
        rows = tables.read_shard("features", unit["bucket"], unit["shard"])
        pairs, funnel = match_rows(rows, config)
        tables.commit("pairs", unit["bucket"], unit["shard"], pairs, funnel.to_json())
        return {"rows": unit["rows"], "report": funnel.to_json()}

    return units.map(once("pairs", tables, match_shard), num_cpus=config.match.cpus)


@dataclass(frozen=True)
class ClassImages:
    """One class: [n] images sorted by id."""

    landmark_id: int
    ids: list[str]
    features: list[ImageFeatures]


def match_rows(rows: pa.Table, config: Config) -> tuple[pa.Table, Funnel]:
    """The evaluated pairs of all classes in some rows of `features`."""
    rule = config.match.rule(config.extract.extractor)
    found: list[Row] = []
    funnel = Funnel(images_in=rows.num_rows, images_out=rows.num_rows)
    for images in classes(rows):
        pairs = match_class(images, rule, config)
        found += [pair_row(images, pair, result) for pair, result in sorted(pairs.items())]
        n = len(images.ids)
        funnel.classes_in += 1
        funnel.classes_out += 1
        funnel.facts["pairs"] += len(pairs)
        funnel.facts["possible pairs"] += n * (n - 1) // 2
        hits = [r.inliers >= config.match.min_inliers for r in pairs.values()]
        funnel.facts["verified pairs"] += sum(hits)
    return pa.Table.from_pylist(found, schemas.PAIRS), funnel


def classes(rows: pa.Table) -> list[ClassImages]:
    """The classes of a shard."""
    landmarks = rows["landmark_id"].to_numpy()
    names, first = np.unique(landmarks, return_index=True)
    parts = zip(names.tolist(), first, [*first[1:], len(landmarks)], strict=True)
    return [
        ClassImages(
            name,
            rows["image_id"].slice(start, end - start).to_pylist(),
            [image_features(row) for row in rows.slice(start, end - start).to_pylist()],
        )
        for name, start, end in parts
    ]


def image_features(row: Row) -> ImageFeatures:
    """A row of `features`, with descriptors of unit length."""
    points, descriptors = schemas.feature_arrays(
        *(row[name] for name in ("count", "keypoints", "descriptors", "dtype"))
    )
    unit = root_sift(descriptors) if descriptors.dtype == np.uint8 else descriptors
    return ImageFeatures(points, unit, max(row["width"], row["height"]))


def match_class(
    images: ClassImages, rule: Rule, config: Config
) -> dict[tuple[int, int], PairResult]:
    """Evaluate the pairs of a class that its mode asks for; keys are indices (a, b), a < b."""
    results: dict[tuple[int, int], PairResult] = {}
    options = config.match

    def evaluate(a: int, b: int) -> int:
        pair = images.features[a], images.features[b]
        results[a, b] = match_pair(*pair, rule, stop_below=options.min_inliers)
        return results[a, b].inliers

    if options.mode == "exhaustive":
        schedule.exhaustive(len(images.ids), evaluate)
    else:
        similarity = likeness(images.features)
        schedule.early(
            np.argsort(rank_key(images.ids, config.seed), kind="stable").tolist(),
            evaluate,
            lambda image: np.argsort(-similarity[image], kind="stable").tolist(),
            min_inliers=options.min_inliers,
            max_images=config.prune.max_images,
        )
    return results


def likeness(features: list[ImageFeatures]) -> np.ndarray:
    """[n, n] cosine of the images' centred mean descriptors: which partners to try first."""
    width = max((f.descriptors.shape[1] for f in features), default=0)
    means = np.zeros((len(features), width), np.float32)
    for i, image in enumerate(features):
        if len(image.descriptors):
            means[i] = image.descriptors.mean(axis=0)
    means -= means.mean(axis=0)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    return means @ means.T


def pair_row(images: ClassImages, pair: tuple[int, int], result: PairResult) -> Row:
    """A row of `pairs`."""
    return {
        "landmark_id": images.landmark_id,
        "image_a": images.ids[pair[0]],
        "image_b": images.ids[pair[1]],
        "putative": result.putative,
        "inliers": result.inliers,
        "affine": None if result.affine is None else result.affine.ravel().tolist(),
    }

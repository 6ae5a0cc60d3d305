"""extract: local features of every image.

SIFT runs in one task a shard. DELF runs in a pool of workers that hold the model (on GPUs where
there are any), with decoding in tasks in front of them.
"""

import os
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from ray.data import Dataset

from landmark_ray.config import Config
from landmark_ray.config.curation import ExtractConfig
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from landmark_ray.kernels.delf import Delf
from landmark_ray.kernels.features import ImageFeatures, quantise
from landmark_ray.kernels.image import ImageError, decode
from landmark_ray.kernels.sift import extract_sift, root_sift
from landmark_ray.runtime.counts import StageCounts, reason_kind
from landmark_ray.runtime.crash_log import CrashLog
from landmark_ray.runtime.pixels import decoded, pixels_of
from landmark_ray.runtime.resources import pin_threads, task_resources
from landmark_ray.runtime.shards import (
    Row,
    idempotent,
    plan_workers,
    probe_on_cluster,
    run_over_shards,
    shard_task,
)

READS = ("ingest",)
WRITES = ("features", "rejects/stage=extract")


def inputs(config: Config, source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {}


def run(config: Config, tables: Root, source: Source) -> StageCounts:
    """Write `features` and the rejects."""
    plan = delf_plan if config.extract.extractor == "delf" else sift_plan
    return run_over_shards(
        "extract", "features", tables, config, lambda units: plan(units, config, tables)
    )


def sift_plan(units: Dataset, config: Config, tables: Root) -> Dataset:
    """Units to reports, by SIFT."""
    options = config.extract

    def extract_shard(unit: Row) -> Row:
        images = tables.read_shard("images", unit["bucket"], unit["shard"])
        return commit(unit, images, lambda image: sift_features(image["jpeg"], options), tables)

    return units.map(
        idempotent("features", tables, extract_shard), **task_resources(config, "extract")
    )


def sift_features(jpeg: bytes, options: ExtractConfig) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints and descriptors of a stored image."""
    points, descriptors = extract_sift(
        decode(jpeg), max_features=options.max_feature_num, side=options.max_side
    )
    return points, root_sift(descriptors)


def delf_plan(units: Dataset, config: Config, tables: Root) -> Dataset:
    """Units to reports, by DELF."""
    options = config.extract
    workers = plan_workers(config, "extract.", options)

    def images_of(unit: Row) -> pa.Table:
        return tables.read_shard("images", unit["bucket"], unit["shard"])

    class DelfWorker:
        """Holds the model; one for each GPU, or for each core."""

        def __init__(self) -> None:
            self.delf = load_delf(options, threads=None if workers.gpus else pin_threads())

        @shard_task
        def __call__(self, unit: Row) -> Row:
            images = images_of(unit)
            pixels = dict(zip(images["image_id"].to_pylist(), pixels_of(unit), strict=True))

            def features(image: Row) -> tuple[np.ndarray, np.ndarray]:
                array = pixels[image["image_id"]]
                if isinstance(array, ImageError):
                    raise array
                points, descriptors = self.delf(array)
                scale = np.float32(image["width"] / array.shape[1])
                return points * scale, quantise(descriptors)

            return commit(unit, images, features, tables)

    pixels = decoded(units, "extract", tables, images_of, options.max_side)
    return pixels.map(DelfWorker, **workers.pool)


def load_delf(options: ExtractConfig, threads: int | None) -> Delf:
    """The model.

    Raises:
        UserError: the handle can't be loaded.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return Delf(
            options.handle,
            image_scales=options.image_scales,
            score_threshold=options.score_threshold,
            max_features=options.max_feature_num,
            threads=threads,
        )
    except ValueError as error:
        raise UserError(f"--extract.handle: {error}") from None


def check(config: Config) -> None:
    """Load a DELF model once on the cluster, so that a bad handle is known before any work.

    Raises:
        UserError: the handle can't be loaded.
    """
    if config.extract.extractor == "delf":
        probe_on_cluster(config, _try_delf, config.extract)


def _try_delf(options: ExtractConfig) -> None:
    load_delf(options, threads=1)


def commit(unit: Row, images: pa.Table, features: Any, tables: Root) -> Row:
    """Write the features of a shard's images and the rejects; the unit's report."""
    rows: list[Row] = []
    rejects: list[Row] = []
    attempts = CrashLog(tables, "extract", f"{unit['bucket']}-{unit['shard']}")
    for image in images.to_pylist():
        names = {k: image[k] for k in ("image_id", "landmark_id")}
        try:
            attempts.at(image["image_id"])
            found = ImageFeatures(*features(image), max(image["width"], image["height"]))
        except (ImageError, cv2.error) as error:
            rejects.append({**names, "reason": str(error)})
            continue
        except ValueError as error:
            rejects.append({**names, "reason": f"bad features: {error}"})
            continue
        rows.append(
            {
                **names,
                "width": image["width"],
                "height": image["height"],
                "count": len(found.keypoints),
                "keypoints": np.asarray(found.keypoints, np.float32).tobytes(),
                "descriptors": found.descriptors.tobytes(),
            }
        )
    attempts.done()
    classes = {
        "in": set(images["landmark_id"].to_pylist()),
        "out": {r["landmark_id"] for r in rows},
    }
    funnel = StageCounts(images.num_rows, len(rows), len(classes["in"]), len(classes["out"]))
    funnel.why.update(reason_kind(r["reason"]) for r in rejects)
    funnel.facts["features"] = sum(r["count"] for r in rows)
    tables.commit(
        "features",
        unit["bucket"],
        unit["shard"],
        pa.Table.from_pylist(rows, schemas.FEATURES),
        funnel.to_json(),
        rejects=pa.Table.from_pylist(rejects, schemas.REJECTS),
        stage="extract",
    )
    return {"rows": unit["rows"], "report": funnel.to_json()}

"""detect: the objects on the images that prune kept; `clean` judges by them.

Without a detector (`--detect.handle`) nothing is detected, and no image is judged by what it shows.
"""

import os

import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Dataset

from landmark_ray.config import Config
from landmark_ray.config.curation import DetectConfig
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from landmark_ray.kernels.detection import Detector
from landmark_ray.kernels.image import ImageError
from landmark_ray.runtime import ledger
from landmark_ray.runtime.counts import StageCounts, reason_kind
from landmark_ray.runtime.crash_log import CrashLog
from landmark_ray.runtime.pixels import decoded, pixels_of
from landmark_ray.runtime.resources import pin_threads
from landmark_ray.runtime.shards import (
    Row,
    plan_workers,
    probe_on_cluster,
    run_over_shards,
    shard_task,
)

READS = ("ingest", "prune")
WRITES = ("detections", "rejects/stage=detect")


def inputs(config: Config, source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {}


def run(config: Config, tables: Root, source: Source) -> StageCounts:
    """Write `detections` and the rejects."""
    if config.detect.handle:
        return run_over_shards(
            "detect", "detections", tables, config, lambda units: plan(units, config, tables)
        )
    record = ledger.read(tables, "prune")
    pruned = record["funnel"] if record else {}
    images, classes = pruned["images_out"], pruned["classes_out"]
    funnel = StageCounts(images, images, classes, classes)
    funnel.facts["not looked at, for want of a detector"] = images
    return funnel


def plan(units: Dataset, config: Config, tables: Root) -> Dataset:
    """Units to reports."""
    options = config.detect
    workers = plan_workers(config, "detect.", options)

    class DetectWorker:
        """Holds the model; one for each GPU, or for each core."""

        def __init__(self) -> None:
            self.detector = load(options, threads=None if workers.gpus else pin_threads())

        @shard_task
        def __call__(self, unit: Row) -> Row:
            rows: list[Row] = []
            rejects: list[Row] = []
            images = kept_images(tables, unit, [])
            attempts = CrashLog(tables, "detect", f"{unit['bucket']}-{unit['shard']}")
            for image, pixels in zip(images.to_pylist(), pixels_of(unit), strict=True):
                try:
                    attempts.at(image["image_id"])
                    if isinstance(pixels, ImageError):
                        raise pixels
                    found = self.detector(pixels)
                except ImageError as error:
                    rejects.append({**image, "reason": str(error)})
                    continue
                boxes = found.boxes.ravel().tolist()
                named = {"entities": found.entities, "scores": found.scores.tolist()}
                rows.append({**image, **named, "boxes": boxes})
            attempts.done()
            return commit(unit, images, rows, rejects, tables)

    def images_of(unit: Row) -> pa.Table:
        return kept_images(tables, unit, ["jpeg"])

    pixels = decoded(units, "detect", tables, images_of, options.max_side)
    return pixels.map(DetectWorker, **workers.pool)


def kept_images(tables: Root, unit: Row, columns: list[str]) -> pa.Table:
    """A unit's rows of `images` that prune kept: ids and some more columns."""
    place = unit["bucket"], unit["shard"]
    kept = tables.read_shard("kept", *place, ["image_id", "keep"])
    images = tables.read_shard("images", *place, ["image_id", "landmark_id", *columns])
    return images.filter(pc.is_in(images["image_id"], kept.filter(kept["keep"])["image_id"]))


def commit(unit: Row, images: pa.Table, rows: list[Row], rejects: list[Row], tables: Root) -> Row:
    """Write what was found on a shard's images; the unit's report."""
    classes = [len({row["landmark_id"] for row in some}) for some in (images.to_pylist(), rows)]
    funnel = StageCounts(images.num_rows, len(rows), *classes)
    funnel.why.update(reason_kind(row["reason"]) for row in rejects)
    funnel.facts["objects"] = sum(len(row["entities"]) for row in rows)
    tables.commit(
        "detections",
        unit["bucket"],
        unit["shard"],
        pa.Table.from_pylist(rows, schemas.DETECTIONS),
        funnel.to_json(),
        rejects=pa.Table.from_pylist(rejects, schemas.REJECTS),
        stage="detect",
    )
    return {"rows": unit["rows"], "report": funnel.to_json()}


def load(options: DetectConfig, threads: int | None) -> Detector:
    """The model.

    Raises:
        UserError: the handle can't be loaded.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return Detector(options.handle, min_score=options.min_score, threads=threads)
    except ValueError as error:
        raise UserError(f"--detect.handle: {error}") from None


def check(config: Config) -> None:
    """Load the model once on the cluster, so that a bad handle is known before any work.

    Raises:
        UserError: the handle can't be loaded.
    """
    if config.detect.handle:
        probe_on_cluster(config, _try, config.detect)


def _try(options: DetectConfig) -> None:
    load(options, threads=1)

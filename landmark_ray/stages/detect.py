"""detect: find the objects on the images that prune kept, for the rules of `clean`.

Without a detector (`--detect.handle`), nothing is detected, and `clean` drops no image for what it
shows.
"""

import os
from collections.abc import Sequence
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.config import Config
from landmark_ray.config.curation import DetectConfig
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from landmark_ray.kernels.detection import Detector
from landmark_ray.kernels.image import decode
from landmark_ray.runtime import ledger
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.pixels import PIXELS, decoded, pixels_of
from landmark_ray.runtime.resources import pin_threads, plan_workers
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards_with_model
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row, probe_on_cluster


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `detections` and the rejects."""
    if not config.detect.handle:
        return ledger.untouched(root, "prune", "not examined, as there is no detector")
    options = config.detect
    workers = plan_workers(config, "detect.", options)
    rule = partial(Detect, options, pin=not workers.gpus)
    decoding = partial(
        decoded,
        stage="detect",
        root=root,
        images_of=kept_images,
        decode=partial(decode, max_side=options.max_side),
    )
    prepare = decoding if workers.gpus else None
    return process_shards_with_model(
        "detect", "detections", rule, workers, config, root, prepare=prepare
    )


class Detect:
    """The rule of the stage: it holds a detector, and finds the objects on decoded images."""

    def __init__(self, options: DetectConfig, *, pin: bool) -> None:
        """Load the model; `pin` limits its threads to the cores of the worker."""
        self.detector = load(options, threads=pin_threads() if pin else None)
        self.decode = partial(decode, max_side=options.max_side)

    def __call__(self, shard: ShardReader) -> ShardResult:
        """Find the objects on the kept images of a shard."""
        images = kept_images(shard, [] if PIXELS in shard.fields else ["jpeg"])
        pixels = pixels_of(shard, self.decode)

        def row(image: Row) -> Row:
            objects = self.detector(pixels(image))
            return {
                "entities": objects.entities,
                "scores": objects.scores.tolist(),
                "boxes": objects.boxes.ravel().tolist(),
            }

        rows, rejects = shard.map_images(images, row)
        table = pa.Table.from_pylist(rows, schemas.DETECTIONS)
        counts = StageCounts.between(images, table, rejects)
        counts.counters["objects"] = sum(len(objects["entities"]) for objects in rows)
        return ShardResult(table, counts, rejects)


def kept_images(shard: ShardReader, columns: Sequence[str] = ("jpeg",)) -> pa.Table:
    """Read the images of a shard that `prune` kept: both ids, and more columns."""
    kept = shard.read("kept", ["image_id", "keep"])
    images = shard.read("images", ["image_id", "landmark_id", *columns])
    return images.filter(pc.is_in(images["image_id"], kept.filter(kept["keep"])["image_id"]))


def load(options: DetectConfig, threads: int | None) -> Detector:
    """Load the detector with a number of threads; TensorFlow chooses it when None.

    Raises:
        UserError: The model that `--detect.handle` names cannot be loaded.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return Detector(options.handle, min_score=options.min_score, threads=threads)
    except ValueError as error:
        raise UserError(f"--detect.handle: {error}") from None


def check(config: Config) -> None:
    """Load the detector once on the cluster, so that a bad handle fails before any work.

    Raises:
        UserError: The model that `--detect.handle` names cannot be loaded.
    """
    if config.detect.handle:
        probe_on_cluster(config, _try, config.detect)


def _try(options: DetectConfig) -> None:
    load(options, threads=1)


STAGE = Stage(
    "detect",
    reads=("images", "kept"),
    writes=("detections", "rejects/stage=detect"),
    run=run,
    check=check,
)

"""extract: local features of every image.

SIFT runs in one task a shard. DELF runs in a pool of workers that hold the model (on GPUs where
there are any), with decoding in tasks in front of them.
"""

import os
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import pyarrow as pa

from landmark_ray.config import Config
from landmark_ray.config.verification import ExtractConfig
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from landmark_ray.kernels.delf import Delf as DelfModel
from landmark_ray.kernels.features import ImageFeatures, quantise
from landmark_ray.kernels.image import ImageError, decode
from landmark_ray.kernels.sift import extract_sift, root_sift
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.pixels import decoded, pixels_by_id
from landmark_ray.runtime.resources import pin_threads, plan_workers
from landmark_ray.runtime.shards import (
    ShardReader,
    ShardResult,
    process_shards,
    process_shards_with_model,
)
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row, probe_on_cluster


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `features` and the rejects."""
    options = config.extract
    if options.extractor == "sift":
        return process_shards("extract", "features", partial(sift, options), config, root)
    workers = plan_workers(config, "extract.", options)
    return process_shards_with_model(
        "extract",
        "features",
        partial(Delf, options, pin=not workers.gpus),
        workers,
        config,
        root,
        prepare=partial(
            decoded, stage="extract", root=root, images_of=images_of, max_side=options.max_side
        ),
    )


def images_of(shard: ShardReader) -> pa.Table:
    """Read all images of a shard."""
    return shard.read("images")


def sift(options: ExtractConfig, shard: ShardReader) -> ShardResult:
    """Find the SIFT features of a shard's images."""
    return features_of(shard, lambda image: sift_features(image["jpeg"], options))


def sift_features(jpeg: bytes, options: ExtractConfig) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints and descriptors of a stored image."""
    points, descriptors = extract_sift(
        decode(jpeg), max_features=options.max_feature_num, side=options.max_side
    )
    return points, root_sift(descriptors)


class Delf:
    """The rule that holds a DELF model, and finds the features of decoded images."""

    def __init__(self, options: ExtractConfig, *, pin: bool) -> None:
        """Load the model; `pin` keeps it on the cores of its worker."""
        self.model = load_delf(options, threads=pin_threads() if pin else None)

    def __call__(self, shard: ShardReader) -> ShardResult:
        """Find the features of a shard's images."""
        pixels = pixels_by_id(shard)

        def features(image: Row) -> tuple[np.ndarray, np.ndarray]:
            array = pixels[image["image_id"]]
            if isinstance(array, ImageError):
                raise array
            points, descriptors = self.model(array)
            scale = np.float32(image["width"] / array.shape[1])
            return points * scale, quantise(descriptors)

        return features_of(shard, features)


def features_of(
    shard: ShardReader, extract: Callable[[Row], tuple[np.ndarray, np.ndarray]]
) -> ShardResult:
    """Make the rows of `features` of a shard.

    Args:
        shard: whose `images` are read.
        extract: a row of `images` to keypoints [N, 2 or 4] in its pixels, and int8 descriptors
            [N, D]; raises ImageError, or ValueError for features that don't fit together.
    """
    images = images_of(shard)

    def row(image: Row) -> Row:
        try:
            points, descriptors = extract(image)
            longest = max(image["width"], image["height"])
            features = ImageFeatures(points, descriptors, longest)
        except cv2.error as error:
            raise ImageError(str(error)) from None
        except ImageError:
            raise
        except ValueError as error:
            raise ImageError(f"bad features: {error}") from None
        return {
            "width": image["width"],
            "height": image["height"],
            "count": len(features.keypoints),
            "keypoints": np.asarray(features.keypoints, np.float32).tobytes(),
            "descriptors": features.descriptors.tobytes(),
        }

    rows, rejects = shard.map_images(images, row)
    table = pa.Table.from_pylist(rows, schemas.FEATURES)
    counts = StageCounts.between(images, table, rejects)
    counts.facts["features"] = sum(features["count"] for features in rows)
    return ShardResult(table, counts, rejects)


def load_delf(options: ExtractConfig, threads: int | None) -> DelfModel:
    """The model.

    Raises:
        UserError: the handle can't be loaded.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return DelfModel(
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


STAGE = Stage(
    "extract", reads=("images",), writes=("features", "rejects/stage=extract"), run=run, check=check
)

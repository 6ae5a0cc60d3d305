"""extract: compute local features of every image.

SIFT runs in one task per shard. All others run in a pool of workers that hold the model, on GPUs if
there are any; there, other tasks decode the images for them.
"""

import hashlib
import os
from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa

from landmark_ray.config import Config
from landmark_ray.config.verification import ONNX, ExtractConfig
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import read_uri
from landmark_ray.errors import UserError, redact_url
from landmark_ray.kernels import sift
from landmark_ray.kernels.delf import Delf as DelfModel
from landmark_ray.kernels.features import ImageFeatures, quantise
from landmark_ray.kernels.image import decode
from landmark_ray.kernels.local_features import usable
from landmark_ray.kernels.onnx_features import OnnxFeatures, runs_on_gpus
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.pixels import decoded, pixels_of
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
        return process_shards("extract", "features", partial(by_sift, options), config, root)
    workers = plan_workers(config, "extract.", with_gpus(options))
    rule = partial(ModelFeatures, options, pin=not workers.gpus)
    decoding = partial(
        decoded, stage="extract", root=root, images_of=images_of, decode=decoder(options)
    )
    prepare = decoding if workers.gpus else None
    return process_shards_with_model(
        "extract", "features", rule, workers, config, root, prepare=prepare
    )


def inputs(config: Config, source: Source) -> dict[str, str]:
    """Return the checksum of the ONNX file, as another file may take its place.

    Raises:
        UserError: The file cannot be read.
    """
    if config.extract.extractor not in ONNX:
        return {}
    checksum = hashlib.sha256(read_model(config.extract.handle)).hexdigest()[:16]
    return {f"features of {redact_url(config.extract.handle)}": checksum}


def with_gpus(options: ExtractConfig) -> ExtractConfig:
    """Return the options without GPUs where ONNX Runtime would not use them.

    Raises:
        UserError: They are asked for.
    """
    if options.extractor not in ONNX or runs_on_gpus():
        return options
    if options.gpus:
        raise UserError(
            f"--extract.gpus {options.gpus:g}: the ONNX Runtime that is installed computes on CPUs "
            "only: leave this option out, or install onnxruntime-gpu in place of onnxruntime"
        )
    return options.model_copy(update={"gpus": 0.0})


def images_of(shard: ShardReader) -> pa.Table:
    """Read all images of a shard."""
    return shard.read("images")


def decoder(options: ExtractConfig) -> Callable[[bytes], np.ndarray]:
    """Return what decodes an image for a model; a network of an ONNX file shrinks it itself."""
    return partial(decode, max_side=options.max_side if options.extractor == "delf" else None)


def by_sift(options: ExtractConfig, shard: ShardReader) -> ShardResult:
    """Compute the SIFT features of the images of a shard."""
    return features_of(shard, lambda image: sift_features(image["jpeg"], options))


def sift_features(jpeg: bytes, options: ExtractConfig) -> tuple[np.ndarray, np.ndarray]:
    """Compute the SIFT features of an image, in its pixels.

    Returns:
        Keypoints [N, 4] and int8 RootSIFT descriptors [N, 128], see `kernels/sift.py`.

    Raises:
        ImageError: The image cannot be decoded.
    """
    most, side = options.max_feature_num, options.max_side
    found = sift.sift_features(decode(jpeg), max_features=most, side=side)
    return found.keypoints, found.descriptors


class ModelFeatures:
    """The rule of the stage for all extractors but SIFT: it holds the model."""

    def __init__(self, options: ExtractConfig, *, pin: bool) -> None:
        """Load the model; `pin` limits its threads to the cores of the worker."""
        self.model = load_model(options, threads=pin_threads() if pin else None, gpu=not pin)
        self.decode = decoder(options)

    def __call__(self, shard: ShardReader) -> ShardResult:
        """Compute the features of the images of a shard."""
        pixels = pixels_of(shard, self.decode)

        def features(image: Row) -> tuple[np.ndarray, np.ndarray]:
            array = pixels(image)
            points, descriptors = self.model(array)
            scale = np.float32(image["width"] / array.shape[1])
            return points * scale, quantise(descriptors)

        return features_of(shard, features)


def features_of(
    shard: ShardReader, extract: Callable[[Row], tuple[np.ndarray, np.ndarray]]
) -> ShardResult:
    """Make the rows of `features` of a shard.

    Args:
        shard: The shard.
        extract: Returns keypoints [N, 2 or 4] in pixels of the stored image and int8 descriptors
            [N, D] for a row of `images`. It raises ImageError, or ValueError if the features are
            malformed; both reject the image.
    """
    images = images_of(shard)

    def row(image: Row) -> Row:
        with usable():
            points, descriptors = extract(image)
            longest = max(image["width"], image["height"])
            features = ImageFeatures(points, descriptors, longest)
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
    counts.counters["features"] = sum(features["count"] for features in rows)
    return ShardResult(table, counts, rejects)


def load_model(options: ExtractConfig, threads: int | None, gpu: bool) -> DelfModel | OnnxFeatures:
    """Load the model of an extractor with a number of threads; the runtime chooses it when None.

    Raises:
        UserError: The model that `--extract.handle` names cannot be loaded.
    """
    try:
        if options.extractor in ONNX:
            return OnnxFeatures(
                read_model(options.handle),
                max_features=options.max_feature_num,
                side=options.max_side,
                threads=threads,
                gpu=gpu,
            )
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        return DelfModel(
            options.handle,
            image_scales=options.image_scales,
            score_threshold=options.score_threshold,
            max_features=options.max_feature_num,
            threads=threads,
        )
    except ValueError as error:
        raise UserError(f"--extract.handle: {named(options, error)}") from None


def named(options: ExtractConfig, error: ValueError) -> str:
    """Return what is wrong with a model; the errors of DELF's models name the handle already."""
    return f"{error}" if options.extractor == "delf" else f"{redact_url(options.handle)}: {error}"


def read_model(uri: str) -> bytes:
    """Read an ONNX file.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return read_uri(uri)
    except UserError as error:
        raise UserError(f"--extract.handle: {error}") from None


def check(config: Config) -> None:
    """Load a model once on the cluster, so that a bad handle fails before any work.

    Raises:
        UserError: The model that `--extract.handle` names cannot be loaded.
    """
    if config.extract.extractor != "sift":
        probe_on_cluster(config, _try_model, config.extract)


def _try_model(options: ExtractConfig) -> None:
    load_model(options, threads=1, gpu=False)


STAGE = Stage(
    "extract",
    reads=("images",),
    writes=("features", "rejects/stage=extract"),
    run=run,
    inputs=inputs,
    check=check,
)

"""Decode images in light tasks, for workers that hold a model.

A worker on a GPU is kept busy so. One on a core decodes images itself, unless its model takes them
in batches: tasks would take its core from it, and pass pixels that take more memory than files.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from ray.data import Dataset

from landmark_ray.config import StageName
from landmark_ray.data.root import Root
from landmark_ray.kernels.image import ImageError
from landmark_ray.runtime.crash_log import CrashLog
from landmark_ray.runtime.shards import ShardReader
from landmark_ray.runtime.tasks import Row, shard_task

PIXELS = "pixels"
"""The column of decoded images."""

DECODE_CPUS = 0.1
"""Share of a core that Ray reserves for a decoding task: small, so that it fits beside models."""


def decoded(
    units: Dataset,
    *,
    stage: StageName,
    root: Root,
    images_of: Callable[[ShardReader], pa.Table],
    decode: Callable[[bytes], np.ndarray],
) -> Dataset:
    """Add the decoded images of its shard to each unit, for `pixels_by_id`.

    Args:
        units: A row for each shard.
        stage: The stage that works.
        root: The root of the run.
        images_of: Reads the images of a shard: rows with `image_id` and `jpeg`.
        decode: From the bytes of an image to [H, W, 3] uint8 RGB; it may raise ImageError.

    Returns:
        The rows with a further column `pixels`.
    """

    @shard_task
    def decode_unit(unit: Row) -> Row:
        key = unit["bucket"], unit["shard"]
        pixels: list[Row] = []
        log = CrashLog(root, stage, f"decode-{key[0]}-{key[1]}")
        images = images_of(ShardReader(root, stage, *key, unit["rows"]))
        for image in images.select(["image_id", "jpeg"]).to_pylist():
            try:
                log.start_image(image["image_id"])
                array = decode(image["jpeg"])
                packed = {"height": len(array), "data": array.tobytes()}
            except ImageError as error:
                packed = {"height": 0, "data": str(error).encode()}
            pixels.append({"image_id": image["image_id"], **packed})
        log.finish_attempt()
        return {**unit, PIXELS: pixels}

    return units.map(decode_unit, num_cpus=DECODE_CPUS)


def pixels_of(
    shard: ShardReader, decode: Callable[[bytes], np.ndarray]
) -> Callable[[Row], np.ndarray]:
    """Return what gives the pixels of a row of `images`; it raises ImageError where there are none.

    Args:
        shard: The shard, with the column that `decoded` added or without it.
        decode: Decodes the column `jpeg` of the row where that column is missing.
    """
    return unpacked(shard) if PIXELS in shard.fields else lambda image: decode(image["jpeg"])


def unpacked(shard: ShardReader) -> Callable[[Row], np.ndarray]:
    """Return the same as `pixels_of` where `decoded` added its column."""
    by_id = pixels_by_id(shard)

    def found(image: Row) -> np.ndarray:
        pixels = by_id[image["image_id"]]
        if isinstance(pixels, ImageError):
            raise pixels
        return pixels

    return found


def pixels_by_id(shard: ShardReader) -> dict[str, np.ndarray | ImageError]:
    """Remove and unpack the column that `decoded` added.

    Returns:
        image_id -> [H, W, 3] uint8 RGB, or the error if the image cannot be decoded.
    """
    return {row["image_id"]: _unpack(row) for row in shard.fields.pop(PIXELS)}


def _unpack(row: Row) -> np.ndarray | ImageError:
    if not row["height"]:
        return ImageError(row["data"].decode())
    return np.frombuffer(row["data"], np.uint8).reshape(row["height"], -1, 3)

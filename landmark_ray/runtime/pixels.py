"""Pixels for workers that hold a model: light tasks in front of them decode the images."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from ray.data import Dataset

from landmark_ray.config import StageName
from landmark_ray.data.root import Root
from landmark_ray.kernels.image import ImageError, decode
from landmark_ray.runtime.crash_log import CrashLog
from landmark_ray.runtime.shards import ShardReader
from landmark_ray.runtime.tasks import Row, shard_task

DECODE_CPUS = 0.1
"""Of a core: decoding is light beside a model, and must find room where that takes the rest."""


def decoded(
    units: Dataset,
    *,
    stage: StageName,
    root: Root,
    images_of: Callable[[ShardReader], pa.Table],
    max_side: int,
) -> Dataset:
    """Add the pixels of their images to units of work, for `pixels_by_id`.

    Args:
        units: a row for each shard.
        stage: whose units they are.
        root: of the run.
        images_of: reads a shard's images: rows with `image_id` and `jpeg`.
        max_side: pixels of the longest side, at most.
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
                array = decode(image["jpeg"], max_side)
                packed = {"height": len(array), "data": array.tobytes()}
            except ImageError as error:
                packed = {"height": 0, "data": str(error).encode()}
            pixels.append({"image_id": image["image_id"], **packed})
        log.finish_attempt()
        return {**unit, "pixels": pixels}

    return units.map(decode_unit, num_cpus=DECODE_CPUS)


def pixels_by_id(shard: ShardReader) -> dict[str, np.ndarray | ImageError]:
    """Unpack what `decoded` added: image_id -> [H, W, 3] uint8, or why it can't be decoded."""
    return {row["image_id"]: _unpack(row) for row in shard.fields.pop("pixels")}


def _unpack(row: Row) -> np.ndarray | ImageError:
    if not row["height"]:
        return ImageError(row["data"].decode())
    return np.frombuffer(row["data"], np.uint8).reshape(row["height"], -1, 3)

"""Pixels for workers that hold a model: decoded by light tasks in front of them."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from ray.data import Dataset

from landmark_ray.data.root import Root
from landmark_ray.kernels.image import ImageError, decode
from landmark_ray.runtime.crash_log import CrashLog
from landmark_ray.runtime.shards import Row, shard_task

DECODE_CPUS = 0.1
"""Of a core: decoding is light beside a model, and must find room where that takes the rest."""


def decoded(
    units: Dataset, stage: str, tables: Root, images_of: Callable[[Row], pa.Table], max_side: int
) -> Dataset:
    """Units with the pixels of their images, at most `max_side` long.

    Args:
        units: of a stage.
        stage: its name.
        tables: where attempts are noted.
        images_of: a unit's rows of `images`.
        max_side: pixels.
    """

    @shard_task
    def decode_unit(unit: Row) -> Row:
        pixels: list[np.ndarray | str] = []
        attempts = CrashLog(tables, stage, f"decode-{unit['bucket']}-{unit['shard']}")
        for image in images_of(unit).select(["image_id", "jpeg"]).to_pylist():
            try:
                attempts.at(image["image_id"])
                pixels.append(decode(image["jpeg"], max_side))
            except ImageError as error:
                pixels.append(str(error))
        attempts.over()
        return {**unit, "pixels": [_pack(p) for p in pixels]}

    return units.map(decode_unit, num_cpus=DECODE_CPUS)


def pixels_of(unit: Row) -> Iterator[np.ndarray | ImageError]:
    """[H, W, 3] of each image, or why it can't be decoded."""
    return map(_unpack, unit.pop("pixels"))


def _pack(pixels: np.ndarray | str) -> Row:
    if isinstance(pixels, str):
        return {"height": 0, "data": pixels.encode()}
    return {"height": len(pixels), "data": pixels.tobytes()}


def _unpack(packed: Row) -> np.ndarray | ImageError:
    if not packed["height"]:
        return ImageError(packed["data"].decode())
    return np.frombuffer(packed["data"], np.uint8).reshape(packed["height"], -1, 3)

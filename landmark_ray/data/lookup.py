"""Rows of tables in the form that kernels take, and the rows of single images."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.data.root import Root
from landmark_ray.kernels.features import ImageFeatures


def image_features(row: dict[str, Any]) -> ImageFeatures:
    """Convert a row of the table `features`.

    Raises:
        ValueError: The arrays do not belong together.
    """
    arrays = feature_arrays(row["count"], row["keypoints"], row["descriptors"])
    return ImageFeatures(*arrays, max(row["width"], row["height"]))


def feature_arrays(
    count: int, keypoints: bytes, descriptors: bytes
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return keypoints float32 [N, 2] or [N, 4] and descriptors int8 [N, D] of a row of `features`.

    Raises:
        ValueError: The bytes do not hold `count` features.
    """
    points = np.frombuffer(keypoints, np.float32)
    flat = np.frombuffer(descriptors, np.int8)
    if not count:
        return points.reshape(0, 2), flat.reshape(0, 0)
    return points.reshape(count, -1), flat.reshape(count, -1)


def rows_of(
    root: Root, image_ids: Iterable[str], wanted: dict[str, Sequence[str]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Read the rows of some images; only the files that hold them are read.

    Args:
        root: The root.
        image_ids: Ids in the catalog; other ids have no rows.
        wanted: Table -> columns.

    Returns:
        Table -> image_id -> column -> value.
    """
    ids = pa.array(sorted(set(image_ids)), pa.string())
    selected = pc.field("image_id").isin(ids)
    catalog = root.dataset("catalog").to_table(["bucket", "shard"], filter=selected)
    shards = catalog.group_by(["bucket", "shard"]).aggregate([]).to_pylist()
    result: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in wanted}
    for table, columns in wanted.items():
        for shard in shards:
            name = root.name(table, shard["bucket"], shard["shard"])
            if not root.exists(name):
                continue
            rows = root.dataset(name).to_table(["image_id", *columns], filter=selected)
            for row in rows.to_pylist():
                result[table][row["image_id"]] = row
    return result

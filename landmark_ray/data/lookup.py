"""Rows of tables as what the kernels take, and rows of some images alone."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.kernels.features import ImageFeatures


def image_features(row: dict[str, Any]) -> ImageFeatures:
    """A row of `features`.

    Raises:
        ValueError: its arrays don't belong together.
    """
    arrays = schemas.feature_arrays(row["count"], row["keypoints"], row["descriptors"])
    return ImageFeatures(*arrays, max(row["width"], row["height"]))


def rows_of(
    root: Root, image_ids: Iterable[str], wanted: dict[str, Sequence[str]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Rows of some images; of a table only the files that hold them are read.

    Args:
        root: the root.
        image_ids: of the catalog; others have no rows.
        wanted: table -> columns.

    Returns:
        Table -> image_id -> columns.
    """
    ids = pa.array(sorted(set(image_ids)), pa.string())
    among = pc.field("image_id").isin(ids)
    catalog = root.dataset("catalog").to_table(["bucket", "shard"], filter=among)
    places = catalog.group_by(["bucket", "shard"]).aggregate([]).to_pylist()
    found: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in wanted}
    for table, columns in wanted.items():
        for place in places:
            name = root.name(table, place["bucket"], place["shard"])
            if not root.exists(name):
                continue
            rows = root.dataset(name).to_table(["image_id", *columns], filter=among)
            for row in rows.to_pylist():
                found[table][row["image_id"]] = row
    return found

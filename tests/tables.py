"""Tables as the tests compare them."""

from pathlib import Path

import pandas as pd
import pyarrow.dataset as pads

LAYOUT = ["bucket", "shard"]
TABLES = (
    "catalog",
    "landmarks",
    "images",
    "rejects",
    "duplicates",
    "features",
    "pairs",
    "descriptors",
    "kept",
    "cleaned",
    "groups",
    "examples",
    "background",
)


def rows(root: Path, table: str) -> pd.DataFrame:
    """All rows of a table, sorted, without the columns that only say where they lie."""
    frame = pads.dataset(root / table, partitioning="hive").to_table().to_pandas()
    frame = frame.drop(columns=[c for c in LAYOUT if c in frame])
    keys = [c for c in ("landmark_id", "image_id", "image_a", "image_b") if c in frame]
    return frame.sort_values(keys, ignore_index=True)


def assert_same_tables(a: Path, b: Path, tables=TABLES) -> None:
    """Row for row."""
    for table in tables:
        pd.testing.assert_frame_equal(rows(a, table), rows(b, table), obj=table)

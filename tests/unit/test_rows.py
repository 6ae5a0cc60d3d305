"""jobs/rows.py: a damaged file, and a condition that a list cannot meet, are a line each."""

import pyarrow as pa
import pytest

from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.rows import RowsConfig, show


def test_a_damaged_file_of_a_table_is_named_after_the_rows_before(tmp_path, capfdbinary):
    root = Root(str(tmp_path))
    row = {"image_id": "a", "landmark_id": 1, "reason": "too small"}
    rows = pa.Table.from_pylist([row], schemas.REJECTS)
    for shard in range(2):
        root.write_table(root.name("rejects/stage=ingest", 0, shard), rows)
    path = tmp_path / root.name("rejects/stage=ingest", 0, 1)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"rejects/stage=ingest is damaged .*--redo"):
        show(RowsConfig(root=root.uri, table="rejects/stage=ingest"))


def test_words_are_not_sought_in_a_list(tmp_path):
    root = Root(str(tmp_path))
    root.write_table(
        "duplicates/bucket=0/empty.parquet", schemas.TABLES["duplicates"].empty_table()
    )
    with pytest.raises(UserError, match="landmarks is a list, of which only the length .*s>1"):
        show(RowsConfig(root=root.uri, table="duplicates", where=("landmarks~345",)))

"""jobs/rows.py: a damaged file, and a condition that a column cannot meet, are a line each."""

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


@pytest.mark.parametrize(
    ("table", "column"), [("duplicates", "landmarks"), ("pairs", "affine"), ("hashes", "digest")]
)
def test_text_is_sought_in_text_alone(tmp_path, table, column):
    root = Root(str(tmp_path))
    root.write_table(root.name(table, 0, 0), schemas.TABLES[table].empty_table())
    with pytest.raises(UserError, match=f"{column} is of type .*, in which no text is sought"):
        show(RowsConfig(root=root.uri, table=table, where=(f"{column}~1",)))

import os
import pickle

import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from landmark_ray.errors import UserError
from landmark_ray.storage import Folder, Shard, Tables

ROWS = pa.table({"image_id": ["a", "b"], "landmark_id": [1, 2]})


def test_write_that_fails_leaves_neither_a_file_nor_a_part(tmp_path, monkeypatch):
    folder = Folder(str(tmp_path))
    folder.write("x/file", b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="x/file: no space left; free some"):
        folder.write("x/file", b"new")
    assert folder.read("x/file") == b"old"
    assert os.listdir(tmp_path / "x") == ["file"]


def test_parts_of_killed_writers_are_neither_listed_nor_kept(tmp_path):
    folder = Folder(str(tmp_path))
    folder.write("t/bucket=0/a.parquet", b"1234")
    (tmp_path / "t/bucket=0/.77.part").write_bytes(b"half")
    assert folder.files("t") == {"t/bucket=0/a.parquet": 4}
    folder.sweep("t")
    assert os.listdir(tmp_path / "t/bucket=0") == ["a.parquet"]


def test_relative_root_travels_to_workers_as_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Folder("here")
    folder.write("file", b"1")
    data = pickle.dumps(folder)
    monkeypatch.chdir("/")
    assert pickle.loads(data).read("file") == b"1"


def test_unknown_protocol_is_refused():
    with pytest.raises(UserError, match="nonsense://x"):
        Folder("nonsense://x")


def test_shard_is_finished_by_its_file_and_carries_its_report(tmp_path):
    tables = Tables(str(tmp_path))
    tables.commit("resized", 3, 7, ROWS, '{"images_in": 2}', rejects=ROWS, stage="resize")
    tables.commit("resized", 3, 8, ROWS.slice(0, 0), "{}", rejects=ROWS.slice(0, 0), stage="resize")
    assert tables.committed("resized") == {(3, 7): b'{"images_in": 2}', (3, 8): b"{}"}
    assert tables.committed("images") == {}
    rejects = pads.dataset(tmp_path / "rejects", partitioning="hive").to_table()
    assert rejects["stage"].to_pylist() == ["resize", "resize"]
    assert tables.dataset("resized").to_table()["bucket"].to_pylist() == [3, 3]


def test_damaged_or_missing_table_is_named(tmp_path):
    tables = Tables(str(tmp_path))
    tables.write(tables.name("pairs", 0, 0), b"not parquet")
    with pytest.raises(UserError, match=r"pairs/bucket=0/shard-00000.parquet is damaged"):
        tables.read_shard("pairs", 0, 0)
    with pytest.raises(UserError, match=r"pairs/bucket=0/shard-00001.parquet is missing"):
        tables.read_shard("pairs", 0, 1)


def test_shards_come_largest_first(tmp_path):
    tables = Tables(str(tmp_path))
    for bucket, shards in ((0, [0, 0, 1]), (1, [0, 0, 0])):
        table = pa.table({"image_id": list("abc"), "shard": pa.array(shards, pa.int32())})
        tables.write_table(f"catalog/bucket={bucket}/catalog.parquet", table)
    assert tables.shards() == [Shard(1, 0, 3), Shard(0, 0, 2), Shard(0, 1, 1)]


def test_empty_table_can_be_read(tmp_path):
    tables = Tables(str(tmp_path))
    tables.ensure("rejects/stage=ingest")
    rows = pads.dataset(tmp_path / "rejects", partitioning="hive").to_table()
    assert rows.num_rows == 0 and rows.schema.field("landmark_id").type == pa.int64()

import os
import pickle
import uuid

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from landmark_ray.data import deletion
from landmark_ray.data.root import Root, Shard
from landmark_ray.data.store import Store, split_uri
from landmark_ray.errors import UserError
from tests import store

ROWS = pa.table({"image_id": ["a", "b"], "landmark_id": [1, 2]})


def test_write_that_fails_leaves_neither_a_file_nor_a_part(tmp_path, monkeypatch):
    folder = Store(str(tmp_path))
    folder.write("x/file", b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="x/file: no space left; free some"):
        folder.write("x/file", b"new")
    assert folder.read("x/file") == b"old"
    assert os.listdir(tmp_path / "x") == ["file"]


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("/marks.csv", ("/", "marks.csv")),
        ("marks.csv", (".", "marks.csv")),
        ("a/marks.csv", ("a", "marks.csv")),
        ("/a/marks.csv", ("/a", "marks.csv")),
        ("s3://b/marks.csv", ("s3://b", "marks.csv")),
    ],
)
def test_file_is_sought_in_the_folder_that_its_uri_names(uri, parts):
    assert split_uri(uri) == parts


def test_parts_of_killed_writers_are_neither_listed_nor_kept(tmp_path):
    folder = Store(str(tmp_path))
    folder.write("t/bucket=0/a.parquet", b"1234")
    (tmp_path / f"t/bucket=0/.{uuid.uuid4().hex}.part").write_bytes(b"half")
    (tmp_path / "t/bucket=0/.film.part").write_bytes(b"a browser's")
    assert folder.files("t") == {"t/bucket=0/a.parquet": 4}
    deletion.delete_partial_files(folder, "t")
    assert sorted(os.listdir(tmp_path / "t/bucket=0")) == [".film.part", "a.parquet"]


def test_relative_root_travels_to_workers_as_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Store("here")
    folder.write("file", b"1")
    data = pickle.dumps(folder)
    monkeypatch.chdir("/")
    assert pickle.loads(data).read("file") == b"1"


def test_folder_behind_a_missing_one_is_the_folder_that_it_will_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there/a").write_bytes(b"a")
    assert Store("missing/../there").read("a") == b"a"
    assert Store("missing/../there").uri == str(tmp_path / "there")


def test_unknown_protocol_is_refused():
    with pytest.raises(UserError, match="nonsense://x"):
        Store("nonsense://x")


def test_shard_is_finished_by_its_file_and_carries_its_report(tmp_path):
    root = Root(str(tmp_path))
    root.commit("examples", 3, 7, ROWS, '{"images_in": 2}', rejects=ROWS, stage="resize")
    root.commit("examples", 3, 8, ROWS.slice(0, 0), "{}", rejects=ROWS.slice(0, 0), stage="resize")
    assert root.committed("examples") == {(3, 7): b'{"images_in": 2}', (3, 8): b"{}"}
    assert root.committed("images") == {}
    rejects = pads.dataset(tmp_path / "rejects", partitioning="hive").to_table()
    assert rejects["stage"].to_pylist() == ["resize", "resize"]
    assert root.dataset("examples").to_table()["bucket"].to_pylist() == [3, 3]


def test_damaged_or_missing_table_is_named(tmp_path):
    root = Root(str(tmp_path))
    root.write(root.name("pairs", 0, 0), b"not parquet")
    with pytest.raises(UserError, match=r"pairs/bucket=0/shard-00000.parquet is damaged"):
        root.read_shard("pairs", 0, 0)
    with pytest.raises(UserError, match=r"pairs/bucket=0/shard-00001.parquet is missing"):
        root.read_shard("pairs", 0, 1)


def test_what_another_process_writes_is_seen(bucket):
    root, worker = Root("s3://landmarks/seen"), Root("s3://landmarks/seen")
    assert root.fs is worker.fs  # one client in a process
    root.commit("hashes", 0, 0, ROWS, "first")
    assert list(root.committed("hashes")) == [(0, 0)]
    data = pa.BufferOutputStream()
    pq.write_table(ROWS.replace_schema_metadata({b"stats": b""}), data)
    key = f"seen/{root.name('hashes', 0, 1)}"
    bucket.put_object(Bucket=store.BUCKET, Key=key, Body=data.getvalue().to_pybytes())
    assert root.committed("duplicates") == {}
    assert root.read_shard("hashes", 0, 1).num_rows == 2
    assert root.stats("hashes", 0, 1) is not None
    assert root.dataset("hashes").count_rows() == 4
    assert list(root.files("hashes")) == [root.name("hashes", 0, n) for n in (0, 1)]


def test_folders_above_a_root_are_no_columns(tmp_path):
    root = Root(str(tmp_path / "shard=2/landmark_id=7"))
    table = pa.table({"image_id": list("ab"), "shard": pa.array([0, 1], pa.int32())})
    root.write_table("catalog/bucket=1/catalog.parquet", table)
    for name in ("catalog", "catalog/bucket=1/catalog.parquet"):
        rows = root.dataset(name).to_table(filter=pads.field("shard") == 0).to_pylist()
        assert rows == [{"image_id": "a", "shard": 0, "bucket": 1}]


def test_shards_come_largest_first(tmp_path):
    root = Root(str(tmp_path))
    for bucket, shards in ((0, [0, 0, 1]), (1, [0, 0, 0])):
        table = pa.table({"image_id": list("abc"), "shard": pa.array(shards, pa.int32())})
        root.write_table(f"catalog/bucket={bucket}/catalog.parquet", table)
    assert root.shards() == [Shard(1, 0, 3), Shard(0, 0, 2), Shard(0, 1, 1)]


def test_empty_table_can_be_read(tmp_path):
    root = Root(str(tmp_path))
    root.ensure("rejects/stage=ingest")
    rows = pads.dataset(tmp_path / "rejects", partitioning="hive").to_table()
    assert rows.num_rows == 0 and rows.schema.field("landmark_id").type == pa.int64()


@pytest.mark.parametrize("name", ["../x", "a/../../x", ".."])
def test_names_never_lead_out_of_a_folder(tmp_path, name):
    folder = Store(str(tmp_path / "root"))
    delete = Root(folder.uri).delete
    for work in (folder.read, folder.read_json, delete, folder.open_table, folder.files):
        with pytest.raises(UserError, match="leads out of this folder"):
            work(name)
    with pytest.raises(UserError, match="leads out of this folder"):
        folder.write(name, b"")
    assert os.listdir(tmp_path) == []


def test_absolute_names_are_names_in_the_folder(tmp_path):
    Store(str(tmp_path)).write("/etc/evil", b"1")
    assert (tmp_path / "etc/evil").read_bytes() == b"1"


def test_a_table_that_is_a_link_is_read_and_never_deleted(tmp_path):
    (tmp_path / "disk").mkdir()
    root = Root(str(tmp_path / "root"))
    root.write("_ledger/x.json", b"{}")
    (tmp_path / "root/kept").symlink_to(tmp_path / "disk")
    root.commit("kept", 0, 0, ROWS, "{}")
    assert root.read_shard("kept", 0, 0).num_rows == 2
    with pytest.raises(UserError, match=r"did not write: kept \(a link, or no file\)"):
        root.delete("kept")
    assert (tmp_path / "root/kept").is_symlink()
    assert (tmp_path / "disk/bucket=0/shard-00000.parquet").exists()


def test_links_inside_a_table_are_neither_followed_nor_deleted(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_bytes(b"1")
    root = Root(str(tmp_path / "root"))
    root.commit("kept", 0, 0, ROWS, "{}")
    (tmp_path / "root/kept/bucket=1").symlink_to(tmp_path / "precious")
    (tmp_path / "root/kept/loop").symlink_to("..")
    assert set(root.committed("kept")) == {(0, 0)}
    with pytest.raises(UserError, match=r"kept/bucket=1 \(a link, or no file\) and 1 more"):
        root.delete("kept")
    assert (tmp_path / "precious/file").exists() and set(root.committed("kept")) == {(0, 0)}
    (tmp_path / "root/kept/bucket=1").unlink()
    (tmp_path / "root/kept/loop").unlink()
    root.delete("kept")
    assert not (tmp_path / "root/kept").exists()


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"", b"[" * 100_000])
def test_json_that_is_none_is_named(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(UserError, match="x.json is damaged") as error:
        Store(str(tmp_path)).read_json("x.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("uri", ["s3://Bad_Bucket!!/x", "s3://a b/x", "https://[bad/x"])
def test_buckets_and_hosts_that_cannot_be_are_one_line(monkeypatch, uri):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    with pytest.raises(UserError) as error:
        Store(uri).exists("train.csv")
    assert "\n" not in str(error.value) and uri[:8] in str(error.value)

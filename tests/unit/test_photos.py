import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from landmark_ray.errors import UserError
from landmark_ray.photos import Photos


def tar_of(path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))


def ids(photos: Photos) -> list[str]:
    return [photos.image_id(m, part) for part in photos.parts for m in part.members(1e6)]


def test_of_a_dataset_the_test_set_is_meant(tmp_path):
    tar_of(tmp_path / "train/images_000.tar", "0/0/0/000a.jpg")
    tar_of(tmp_path / "test/images_000.tar", "0/0/0/000b.jpg", "0/0/1/001c.jpg")
    assert ids(Photos(str(tmp_path))) == ["000b", "001c"]


def test_a_single_tar_or_a_folder_of_tars(tmp_path):
    tar_of(tmp_path / "a.tar", "x.jpg")
    tar_of(tmp_path / "b.tar", "deep/y.png")
    assert ids(Photos(str(tmp_path))) == ["x", "y"]
    assert ids(Photos(str(tmp_path / "b.tar"))) == ["y"]


def test_a_wrong_md5_is_said(tmp_path):
    tar_of(tmp_path / "test/images_000.tar", "x.jpg")
    (tmp_path / "md5sum/test").mkdir(parents=True)
    (tmp_path / "md5sum/test/md5.images_000.txt").write_text("0" * 32 + "  images_000.tar")
    photos = Photos(str(tmp_path))
    assert ids(photos) == ["x"]
    assert "wrong md5: test/images_000.tar" in photos.parts[0].notes[0]


def test_files_are_named_without_folder_and_ending_unless_two_are_alike(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one.jpg").write_bytes(b"1")
    (tmp_path / "two.PNG").write_bytes(b"2")
    (tmp_path / "notes.txt").write_bytes(b"3")
    assert ids(Photos(str(tmp_path))) == ["one", "two"]
    (tmp_path / "one.png").write_bytes(b"4")
    assert ids(Photos(str(tmp_path))) == ["a/one.jpg", "one.png", "two.PNG"]


def test_tables_of_bytes_and_of_structs(tmp_path):
    pq.write_table(pa.table({"id": [7, 8], "jpeg": [b"x", None]}), tmp_path / "a.parquet")
    struct = pa.array([{"bytes": b"yy", "path": "p"}])
    pq.write_table(pa.table({"image_id": ["k"], "image": struct}), tmp_path / "b.parquet")
    photos = Photos(str(tmp_path))
    assert ids(photos) == ["7", "8", "k"]
    members = [m for part in photos.parts for m in part.members(1)]
    assert [(m.size, m.data) for m in members] == [(1, b"x"), (0, b""), (2, b"")]


def test_a_table_without_the_columns_is_one_line(tmp_path):
    pq.write_table(pa.table({"id": [7], "url": ["u"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a.parquet needs a column jpeg or image or bytes, it has"):
        ids(Photos(str(tmp_path)))


def test_nothing_there_and_nothing_to_see(tmp_path):
    with pytest.raises(UserError, match="there is nothing at"):
        Photos(str(tmp_path / "gone"))
    with pytest.raises(UserError, match="has no photos"):
        Photos(str(tmp_path))


def test_fingerprint_tells_other_photos(tmp_path):
    (tmp_path / "one.jpg").write_bytes(b"1")
    before = Photos(str(tmp_path)).fingerprint()
    assert Photos(str(tmp_path)).fingerprint() == before
    (tmp_path / "one.jpg").write_bytes(b"12")
    assert Photos(str(tmp_path)).fingerprint() != before

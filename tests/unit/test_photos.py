import io
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from landmark_ray.data.listing import LeftOut
from landmark_ray.data.photo_tables import DamagedError
from landmark_ray.data.photos import Photos, holder, photos_of
from landmark_ray.errors import UserError

JPEG = b"\xff\xd8\xff\xe0 begins like one"


def tar_of(path: Path, *names: str, data: bytes = b"abc") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def files(folder: Path, *names: str, data: bytes = JPEG) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def read(photos: Photos) -> tuple[list[str], dict[str, int]]:
    """Where all photos lie, and how much of each kind is left out."""
    left_out = LeftOut()
    left_out.update(photos.left_out)
    places = [
        f"{holder(part)}:{member.name}" for part in photos.parts for member in photos_of(part, 1e6)
    ]
    for part in photos.parts:
        left_out.update(part.left_out)
    return places, dict(left_out.counts)


def places(path: Path) -> list[str]:
    return read(Photos(str(path)))[0]


def test_of_a_dataset_the_test_set_is_meant(tmp_path):
    tar_of(tmp_path / "train/images_000.tar", "0/0/0/000a.jpg")
    tar_of(tmp_path / "test/images_000.tar", "0/0/0/000b.jpg", "0/0/1/001c.jpg")
    photos = Photos(str(tmp_path))
    assert read(photos)[0] == [
        f"test/images_000.tar:{n}" for n in ("0/0/0/000b.jpg", "0/0/1/001c.jpg")
    ]
    assert any(
        "outside of test/" in line and "train/images_000.tar" in line for line in photos.lines()
    )


@pytest.mark.parametrize("training", ["train.csv", "metadata/train.csv", "train/0/0/1/001.jpg"])
def test_of_an_unpacked_dataset_the_test_set_is_meant(tmp_path, training):
    files(tmp_path, training, "test/a/b/c/abc1.jpg", "sample_submission.csv")
    files(tmp_path, "test/README.md", data=b"words")
    photos = Photos(str(tmp_path))
    assert read(photos)[0] == [":test/a/b/c/abc1.jpg"]
    assert (
        photos.left_out.counts[
            "files outside of test/, the only part of a dataset that is answered"
        ]
        == 2
    )


def test_a_folder_called_test_is_one_as_any_other_without_a_training_set(tmp_path):
    files(tmp_path, "test/1.jpg", "arch/2.jpg")
    assert places(tmp_path) == [":arch/2.jpg", ":test/1.jpg"]
    files(tmp_path, "train.csv")
    (tmp_path / "test/1.jpg").rename(tmp_path / "test/notes.txt")
    assert places(tmp_path) == [":arch/2.jpg"]


def test_a_single_tar_or_a_folder_of_tars(tmp_path):
    tar_of(tmp_path / "a.tar", "x.jpg")
    tar_of(tmp_path / "b.TAR", "deep/y.png")
    assert places(tmp_path) == ["a.tar:x.jpg", "b.TAR:deep/y.png"]
    assert places(tmp_path / "b.TAR") == ["b.TAR:deep/y.png"]


def test_a_wrong_md5_is_said(tmp_path):
    tar_of(tmp_path / "test/images_000.tar", "x.jpg")
    (tmp_path / "md5sum/test").mkdir(parents=True)
    (tmp_path / "md5sum/test/md5.images_000.txt").write_text("0" * 32 + "  images_000.tar")
    photos = Photos(str(tmp_path))
    assert read(photos)[0] == ["test/images_000.tar:x.jpg"]
    assert "wrong md5: test/images_000.tar" in photos.parts[0].notes[0]


def test_files_tars_and_tables_beside_each_other_are_all_answered(tmp_path):
    files(tmp_path, "one.jpg", "sub/two.JFIF", "sub/three", "notes.txt", "labels.csv", "more.zip")
    files(tmp_path, "readme", data=b"what this is")
    tar_of(tmp_path / "t.tar", "one.jpg", "one.json", "one.cls", "one.txt")
    pq.write_table(pa.table({"id": ["k"], "image": [b"x"]}), tmp_path / "photos.parquet")
    pq.write_table(pa.table({"id": ["k"], "score": [1]}), tmp_path / "scores.parquet")
    photos = Photos(str(tmp_path))
    found, left_out = read(photos)
    assert found == ["t.tar:one.jpg", "photos.parquet:k", ":one.jpg", ":sub/three", ":sub/two.JFIF"]
    assert left_out == {
        "tables without photos": 1,
        "tables": 1,
        "archives": 1,
        "files that are no photos": 5,
    }
    assert photos.lines()[0].startswith("photos of 1 tar, 1 table, 3 files in ")
    assert any("scores.parquet" in line for line in photos.lines())


def test_what_is_hidden_is_no_photo_in_folders_and_in_tars(tmp_path):
    hidden = (".thumbnails/a.jpg", "@eaDir/a.jpg/S.jpg", "__MACOSX/._a.jpg", "b/._a.jpg")
    files(tmp_path, "a.jpg", ".Trash-1000/files/gone.jpg", *hidden)
    tar_of(tmp_path / "t.tar", "./c.jpg", "./._c.jpg", "./.DS_Store", *hidden)
    found, left_out = read(Photos(str(tmp_path)))
    assert found == ["t.tar:./c.jpg", ":a.jpg"]
    assert left_out == {"hidden or system files": 11}


def test_members_without_an_ending_are_judged_by_their_bytes(tmp_path):
    tar_of(tmp_path / "a.tar", "one", "two.jpg_large", data=JPEG)
    tar_of(tmp_path / "b.tar", "three", "four.jpg", data=b"no photo")
    found, left_out = read(Photos(str(tmp_path)))
    assert found == ["a.tar:one", "a.tar:two.jpg_large", "b.tar:four.jpg"]
    assert left_out == {"files that are no photos": 1}


def test_links_are_followed_once(tmp_path):
    files(tmp_path / "far", "x.jpg")
    files(tmp_path / "here", "a.jpg")
    os.symlink(tmp_path / "far", tmp_path / "here/near")
    os.symlink(tmp_path / "here", tmp_path / "here/loop")
    found, left_out = read(Photos(str(tmp_path / "here")))
    assert found == [":a.jpg", ":near/x.jpg"]
    assert list(left_out.values()) == [1]


def test_tables_of_bytes_and_of_structs(tmp_path):
    pq.write_table(pa.table({"id": [7, 8], "jpeg": [b"x", None]}), tmp_path / "a.parquet")
    struct = pa.array([{"bytes": b"yy", "path": "p"}])
    pq.write_table(pa.table({"image_id": ["k"], "image": struct}), tmp_path / "b.parquet")
    struct = pa.array([{"bytes": b"yy", "path": "d/a.b.jpg"}, {"bytes": None, "path": None}])
    pq.write_table(pa.table({"image": struct}), tmp_path / "c.parquet")
    photos = Photos(str(tmp_path))
    names = [place.partition(":")[2] for place in read(photos)[0]]
    assert names == ["7", "8", "k", "d/a.b", "1"]
    members = [m for part in photos.parts[:2] for m in part.members(1)]
    assert [(m.size, m.data) for m in members] == [(1, b"x"), (0, b""), (2, b"")]


def test_a_table_without_photos_alone_is_one_line(tmp_path):
    pq.write_table(pa.table({"id": [7], "image": ["u.jpg"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a.parquet needs a column jpeg or image or bytes, it has"):
        Photos(str(tmp_path))


def test_what_is_damaged_is_read_up_to_there_and_named(tmp_path):
    tar_of(tmp_path / "a.tar", "x.jpg", "y.jpg", data=bytes(5000))
    cut = (tmp_path / "a.tar").read_bytes()[:8000]
    (tmp_path / "a.tar").write_bytes(cut)
    rows = {"id": range(600), "jpeg": [os.urandom(50)] * 600}
    pq.write_table(pa.table(rows), tmp_path / "b.parquet", 300, compression="none",
                   use_dictionary=False, write_page_checksum=True)  # fmt: skip
    data = bytearray((tmp_path / "b.parquet").read_bytes())
    data[len(data) * 3 // 4] ^= 1
    (tmp_path / "b.parquet").write_bytes(data)
    (tmp_path / "c.parquet").write_bytes(b"")
    names = []
    for part in (parts := Photos(str(tmp_path)).parts):
        with pytest.raises(DamagedError, match=f"{part.name} is damaged"):
            names += (member.name for member in photos_of(part, 1e6))
    assert [part.name for part in parts] == ["a.tar", "b.parquet", "c.parquet"]
    assert names == ["x.jpg", *map(str, range(256))]


def test_nothing_there_and_nothing_to_see(tmp_path):
    with pytest.raises(UserError, match="there is nothing at"):
        Photos(str(tmp_path / "gone"))
    files(tmp_path, "a.docx", data=b"words")
    with pytest.raises(UserError, match=r"has no photos: .*such as a.docx"):
        Photos(str(tmp_path))


def test_fingerprint_tells_other_photos_and_no_other_files(tmp_path):
    files(tmp_path, "one.jpg", "two.jpg", data=b"12")
    before = Photos(str(tmp_path)).fingerprint
    files(tmp_path, "notes.txt", "out.parquet/_identity.json")
    pq.write_table(pa.table({"image_id": ["k"]}), tmp_path / "out.parquet/a.parquet")
    assert Photos(str(tmp_path)).fingerprint == before
    files(tmp_path, "one.jpg", data=b"1")
    files(tmp_path, "two.jpg", data=b"123")
    assert Photos(str(tmp_path)).fingerprint != before


def test_of_kaggles_folder_and_of_odd_endings(shared):
    found, _ = read(Photos(str(shared / "field/kaggle_unpacked/source")))
    assert len(found) == 3 and all(place.startswith(":test/") for place in found)
    assert len(places(shared / "field/odd_endings/source")) == 24

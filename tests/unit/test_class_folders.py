"""A source of class folders: each folder is a landmark."""

import hashlib
import os

import pytest

from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from tests.datasets import JPEG, ids_by_name, put


def test_class_folders_hold_all_photos_below_them(tmp_path):
    photos = ["a/x.webp", "b/1.jpg", "b/2.PNG", "b/2019/may/3.jfif", "b/4"]
    put(tmp_path, *photos, "a/readme.txt", "top.jpg", "a/.x/p.jpg", "b/@eaDir/1.jpg")
    source = Source(str(tmp_path))
    images, _, _ = source.index()
    number = ids_by_name(source)
    assert set(number) == {"a", "b"}
    assert images.to_pydict() == {
        "image_id": sorted(photos),
        "landmark_id": [number[name[0]] for name in sorted(photos)],
    }
    (archive,) = source.archives()
    assert [m.image_id for m in archive.members(100)] == images["image_id"].to_pylist()
    assert source.lines() == [
        "left out: hidden or system files, such as a/.x/p.jpg: 2",
        "left out: files that are no photos, such as a/readme.txt: 1",
        "left out: photos in no class folder, such as top.jpg: 1",
    ]


def test_ids_of_class_folders_stay_when_others_come(tmp_path):
    put(tmp_path, "300/x.jpg", "tower/x.jpg", "1/x.jpg", "01/x.jpg")
    before = ids_by_name(Source(str(tmp_path)))
    assert (before["300"], before["1"]) == (300, 1) and len(set(before.values())) == 4
    put(tmp_path, "200/x.jpg", ".ipynb_checkpoints/x.jpg", "abbey/x.jpg", "zoo/x.jpg")
    after = ids_by_name(Source(str(tmp_path)))
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"200", "abbey", "zoo"}


def test_a_datasets_parts_are_no_classes(tmp_path):
    put(tmp_path, "train/tower/x.jpg", "val/tower/y.jpg")
    with pytest.raises(
        UserError, match=r"parts of a dataset and not classes: did you mean .*/train"
    ):
        Source(str(tmp_path))
    assert set(ids_by_name(Source(str(tmp_path / "train")))) == {"tower"}


def test_one_folder_around_the_classes_is_said(tmp_path):
    put(tmp_path, "photos/tower/x.jpg", "photos/abbey/y.jpg")
    (line,) = Source(str(tmp_path)).lines()
    assert line.endswith(f"if its 2 folders are the landmarks, give --source {tmp_path}/photos")


def test_fingerprint_of_class_folders_with_numbers_is_as_ever(tmp_path):
    put(tmp_path, "12/a.jpg", "7/b.jpg")
    names = hashlib.sha256(b"12/a.jpg\n7/b.jpg").hexdigest()[:16]
    assert Source(str(tmp_path)).index()[2] == names


def test_class_folders_with_numbers_keep_them(tmp_path):
    for name in ("12/a.jpg", "7/b.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"data")
    assert Source(str(tmp_path)).index()[0]["landmark_id"].to_pylist() == [12, 7]


def test_links_to_nowhere_and_loops_in_class_folders_harm_nothing(tmp_path, monkeypatch):
    put(tmp_path, "a/x.jpg", "a/closed.jpg")
    (tmp_path / "a/none.jpg").symlink_to("/nowhere.jpg")
    (tmp_path / "a/self.jpg").symlink_to("self.jpg")
    (tmp_path / "a/up").symlink_to("..")
    read = Store.read

    def refuse(folder, name):
        if "closed" in name:
            raise PermissionError(13, "Permission denied", name)
        return read(folder, name)

    monkeypatch.setattr(Store, "read", refuse)  # root may read everything
    source = Source(str(tmp_path))
    (archive,) = source.archives()
    assert {m.image_id: (m.data, m.problem) for m in archive.members(100)} == {
        "a/closed.jpg": (b"", "can't be read: Permission denied"),
        "a/none.jpg": (b"", "can't be read: a link to nowhere"),
        "a/self.jpg": (b"", "can't be read: a link to itself"),
        "a/x.jpg": (JPEG, ""),
    }
    assert source.lines() == ["left out: links back to a folder that they lie in, such as a/up: 1"]


def test_names_that_are_not_utf8_are_read_under_text_ids(tmp_path):
    put(tmp_path, "a\nb/x.jpg", "\\xff/x.jpg", data=b"text")
    for number, name in enumerate((b"/\xff/x.jpg", b"/\xff/\xfe.jpg")):
        os.makedirs(os.path.dirname(os.fsencode(tmp_path) + name), exist_ok=True)
        with open(os.fsencode(tmp_path) + name, "wb") as file:
            file.write(b"data %d" % number)
    source = Source(str(tmp_path))
    images, names, _ = source.index()
    assert {"a\nb", "\\xff"} < set(names["name"].to_pylist()) and names.num_rows == 3
    assert len(set(images["image_id"].to_pylist())) == 4
    (archive,) = source.archives()
    read = {m.image_id: m.data for m in archive.members(100)}
    assert list(read) == images["image_id"].to_pylist()
    assert sorted(read.values()) == [b"data 0", b"data 1", b"text", b"text"]

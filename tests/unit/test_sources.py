import bz2
import gzip
import hashlib
import io
import lzma
import os
import shutil
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pyarrow as pa
import pytest

from landmark_ray.data import sources
from landmark_ray.data.labels import id_of_name
from landmark_ray.data.photo_ids import PhotoIds
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError


def tar_of(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def gldv2(folder, tars: dict[str, bytes], md5s: dict[str, str] | None = None):
    """A dataset in GLDv2's layout; right md5s unless others are given."""
    (folder / "train").mkdir(parents=True)
    (folder / "md5sum/train").mkdir(parents=True)
    (folder / "train.csv").write_text(
        "id,url,landmark_id\n00000000000000aa,u,7\n0000000000000012,u,8\n"
    )
    for name, data in tars.items():
        (folder / f"train/{name}.tar").write_bytes(data)
        md5 = (md5s or {}).get(name, hashlib.md5(data).hexdigest())
        (folder / f"md5sum/train/md5.{name}.txt").write_text(f"{md5}  {name}.tar\n")
    return Source(str(folder))


JPEG = b"\xff\xd8\xff\xe0" + bytes(60)
IMAGE = {"0/0/0/00000000000000aa.jpg": b"jpeg"}


def test_ids_stay_strings_and_members_are_streamed(tmp_path):
    source = gldv2(tmp_path, {"images_000": tar_of(IMAGE | {"0/0/0/0000000000000012.jpg": b"xy"})})
    images, _, _ = source.index()
    assert images.to_pydict() == {
        "image_id": ["00000000000000aa", "0000000000000012"],
        "landmark_id": [7, 8],
    }
    (archive,) = source.archives()
    members = [(m.image_id, m.data) for m in archive.members(100)]
    assert members == [("00000000000000aa", b"jpeg"), ("0000000000000012", b"xy")]
    assert archive.problem == "" and archive.notes == []


def test_wrong_md5_is_a_problem_that_names_the_tar(tmp_path):
    source = gldv2(tmp_path, {"images_000": tar_of(IMAGE)}, {"images_000": "0" * 32})
    (archive,) = source.archives()
    list(archive.members(100))
    assert archive.problem.startswith("wrong md5: train/images_000.tar has ")
    assert archive.problem.endswith("not " + "0" * 32)


def test_missing_md5_is_a_warning(tmp_path):
    source = gldv2(tmp_path, {"images_000": tar_of(IMAGE)})
    (tmp_path / "md5sum/train/md5.images_000.txt").unlink()
    (archive,) = source.archives()
    assert len(list(archive.members(100))) == 1
    assert archive.problem == ""
    assert archive.notes == [
        "train/images_000.tar was not checked: md5sum/train/md5.images_000.txt is missing"
    ]


def test_truncated_tar_yields_what_can_be_read_and_says_so(tmp_path):
    whole = tar_of(IMAGE | {"0/0/0/0000000000000012.jpg": b"x" * 5000})
    source = gldv2(tmp_path, {"images_000": whole[:2000]})
    (archive,) = source.archives()
    assert [m.image_id for m in archive.members(1e6)] == ["00000000000000aa"]
    assert archive.notes[0].startswith("train/images_000.tar is damaged")


def test_hostile_members_are_only_looked_up_by_their_id(tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        link = tarfile.TarInfo("0/0/0/00000000000000aa.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        up = tarfile.TarInfo("../../0000000000000012.jpg")
        up.size = 2
        tar.addfile(up, io.BytesIO(b"xy"))
    (archive,) = gldv2(tmp_path, {"images_000": out.getvalue()}).archives()
    assert [m.image_id for m in archive.members(100)] == ["0000000000000012"]


def test_member_that_is_too_large_is_not_read(tmp_path):
    (archive,) = gldv2(tmp_path, {"images_000": tar_of({"a.jpg": b"x" * 1000})}).archives()
    (member,) = archive.members(100)
    assert (member.size, member.data) == (1000, b"")


def put(folder, *names: str, data: bytes = JPEG):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def ids_by_name(source: Source) -> dict[str, int]:
    _, names, _ = source.index()
    return dict(zip(names["name"].to_pylist(), names["landmark_id"].to_pylist(), strict=True))


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
    with pytest.raises(UserError, match=r"parts of a dataset, no classes: is .*/train meant"):
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


def test_rows_without_a_landmark_are_read_as_null(tmp_path):
    source = gldv2(tmp_path, {"images_000": tar_of(IMAGE)})
    (tmp_path / "train.csv").write_text("id,url,landmark_id\na,u,None\nb,u,\nc,u,3\n")
    assert source.index()[0]["landmark_id"].to_pylist() == [None, None, 3]


@pytest.mark.parametrize(
    ("csv", "said"),
    [
        ("id,landmark\na,1\n", "must be a csv with the columns id, landmark_id"),
        ("id,url,landmark_id\na,u,1\nb,u,1.5\n", "line 3: landmark ids are whole numbers, not 1.5"),
        ("", "must be a csv with the columns id, landmark_id"),
    ],
)
def test_csv_that_is_none_is_refused_by_name(tmp_path, csv, said):
    source = gldv2(tmp_path, {"images_000": tar_of(IMAGE)})
    (tmp_path / "train.csv").write_text(csv)
    with pytest.raises(UserError) as error:
        source.index()
    assert said in str(error.value) and str(tmp_path / "train.csv") in str(error.value)


def test_missing_source_and_folder_without_dataset_are_told_apart(tmp_path):
    with pytest.raises(UserError, match="there is nothing at"):
        Source(str(tmp_path / "none"))
    with pytest.raises(UserError, match="is no dataset"):
        Source(str(tmp_path))


def test_csv_without_tars_is_refused(tmp_path):
    source = gldv2(tmp_path, {})
    with pytest.raises(UserError, match="no train/images_NNN.tar"):
        source.archives()


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


def test_md5_file_without_an_md5_is_a_note(tmp_path):
    source = gldv2(tmp_path, {"images_000": tar_of(IMAGE)})
    (tmp_path / "md5sum/train/md5.images_000.txt").write_bytes(b"\xff" * 10000)
    (archive,) = source.archives()
    assert [m.data for m in archive.members(100)] == [b"jpeg"]
    assert archive.problem == ""
    assert archive.notes == [
        "train/images_000.tar was not checked: md5sum/train/md5.images_000.txt says no md5 of it"
    ]


PACKED = {"tar.gz": gzip.compress, "tgz": gzip.compress, "tar.bz2": bz2.compress} | {
    "tar.xz": lzma.compress,
    "tar": gzip.compress,  # packed, and not called so
}


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("of", ["as it lies", "unpacked", "wrong"])
def test_packed_tars_are_read_and_checked(tmp_path, ending, of):
    tar = tar_of(IMAGE)
    source = gldv2(tmp_path, {})
    packed = PACKED[ending](tar)
    (tmp_path / f"train/images_007.{ending}").write_bytes(packed)
    md5 = hashlib.md5({"as it lies": packed, "unpacked": tar}.get(of, b"")).hexdigest()
    (tmp_path / "md5sum/train/md5.images_007.txt").write_text(f"MD5 (images_007.tar) = {md5}")
    (archive,) = Source(source.folder.uri).archives()
    assert [m.data for m in archive.members(100)] == [b"jpeg"]
    assert archive.problem.startswith("wrong md5") == (of == "wrong")


def test_a_tar_that_is_there_packed_too_is_read_once(tmp_path):
    gldv2(tmp_path, {"images_000": tar_of(IMAGE), "other": tar_of(IMAGE)})
    (tmp_path / "train/images_000.tar.gz").write_bytes(gzip.compress(tar_of(IMAGE)))
    (tmp_path / "train/notes.txt").write_text("mine")
    (tmp_path / "train/more.zip").write_bytes(b"PK")
    source = Source(str(tmp_path))
    assert [a.name for a in source.archives()] == ["train/images_000.tar", "train/other.tar"]
    assert set(source.left_out.examples.values()) == {
        *("train/images_000.tar.gz", "train/notes.txt", "train/more.zip"),
    }


def test_the_layout_of_kaggle_is_read_like_tars(tmp_path):
    ids = [f"{i:016x}" for i in range(5)]
    put(tmp_path, *(f"train/{i[0]}/{i[1]}/{i[2]}/{i}.jpg" for i in ids), "index/0/0/0/z.jpg")
    put(tmp_path, f"test/0/0/0/{ids[0]}.jpg", "train/.thumbnails/x.jpg", "sample_submission.csv")
    (tmp_path / "train.csv").write_text("id,landmark_id\n" + "".join(f"{i},7\n" for i in ids[1:]))
    source = Source(str(tmp_path))
    (archive,) = source.archives()
    names = PhotoIds(source.index()[0]["image_id"])
    assert [m.image_id for m in names.renamed(archive, 100)] == ids[1:]
    assert source.test_set() is None
    assert source.left_out.counts == {
        sources.HIDDEN: 1,
        sources.BESIDE: 2,
        sources.UNSOLVED: 1,
    }
    before = source.fingerprint()
    (tmp_path / f"train/0/0/0/{ids[2]}.jpg").rename(tmp_path / f"train/0/0/0/{ids[2]}.png")
    assert Source(str(tmp_path)).fingerprint() != before

    (tmp_path / "recognition_solution.csv").write_text(f"id,landmarks,Usage\n{ids[0]}.jpg,7,x\n")
    archives, solution = Source(str(tmp_path)).test_set()
    assert solution == {f"{ids[0]}.jpg": frozenset({7})}
    (member,) = PhotoIds(pa.array(list(solution))).renamed(archives[0], 100)
    assert (member.image_id, member.data) == (f"{ids[0]}.jpg", JPEG)


def test_the_first_of_several_lists_counts_and_the_others_are_named(tmp_path):
    gldv2(tmp_path, {"images_000": tar_of(IMAGE)})
    (tmp_path / "metadata").mkdir()
    clean = tmp_path / "metadata/train_clean.csv"
    clean.write_text("landmark_id,images\n9,00000000000000aa\n")
    (tmp_path / "metadata/train_label_to_category.csv").write_text(
        "landmark_id,category\n9,abbey\n"
    )
    source = Source(str(tmp_path))
    assert source.lines() == [
        "the photos and landmarks are those of train.csv",
        f"left out: {sources.LISTS_TOO}, such as metadata/train_clean.csv: 1",
    ]
    (tmp_path / "train.csv").unlink()
    source = Source(str(tmp_path))
    assert source.csv == "metadata/train_clean.csv"
    images, names, _ = source.index()
    assert images.to_pylist() == [{"image_id": "00000000000000aa", "landmark_id": 9}]
    assert names.to_pylist() == [{"landmark_id": 9, "name": "abbey"}]


def test_text_labels_are_landmarks_with_their_names(tmp_path):
    source = gldv2(tmp_path, {"images_000": tar_of(IMAGE)})
    (tmp_path / "train.csv").write_text("id,landmark_id\na,old tower\nb,12\nc,old tower\n")
    images, names, _ = source.index()
    tower = id_of_name("old tower")
    assert images["landmark_id"].to_pylist() == [tower, 12, tower]
    assert names.to_pylist() == [{"landmark_id": tower, "name": "old tower"}]
    assert len(source.notes) == 1 and source.index() and len(source.notes) == 1


class LikeS3(SimpleHTTPRequestHandler):
    """A bucket that may be read and not listed: what isn't there is forbidden."""

    def send_error(self, code, message=None, explain=None):
        super().send_error(403 if code == 404 else code, message, explain)

    def log_message(self, *_):
        pass


@pytest.fixture
def bucket(tmp_path):
    """Address of GLDv2's layout as its public bucket has it."""
    gldv2(tmp_path, {f"images_{i:03d}": tar_of(IMAGE) for i in range(3)})
    for name in ("metadata", "ground_truth"):
        (tmp_path / name).mkdir()
    shutil.move(tmp_path / "train.csv", tmp_path / "metadata")
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    (tmp_path / "ground_truth/recognition_solution_v2.1.csv").write_text(
        "id,landmarks,Usage\n00000000000000aa,7 8.0,Public\nbb,,Private\ncc,NaN,Private\n"
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(LikeS3, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_public_bucket_is_read_in_place(bucket):
    source = Source(bucket)
    assert source.csv == "metadata/train.csv"
    assert source.index()[0].num_rows == 2
    archives = source.archives()
    assert [a.name for a in archives] == [f"train/images_{i:03d}.tar" for i in range(3)]
    assert [m.data for m in archives[2].members(100)] == [b"jpeg"]
    assert (archives[2].problem, archives[2].notes) == ("", [])
    tars, solution = source.test_set()
    assert len(tars) == 3
    assert solution == {"00000000000000aa": frozenset({7, 8}), "bb": frozenset(), "cc": frozenset()}


FIELD = {  # photos in archives that the list names, landmark ids that are known, landmarks in all
    "float_ids": (12, {11, 22}, 2),
    "hidden_folder": (18, {100, 200, 300}, 3),
    "ids_with_ending": (12, {11, 22}, 2),
    "kaggle_unpacked": (12, {11, 22}, 2),
    "leading_zeros": (24, {1, 2}, 4),
    "md5_bsd": (12, {11, 22}, 2),
    "mixed_tars": (12, {11, 22}, 2),
    "nested_in_class": (20, {id_of_name("tower"), id_of_name("bridge")}, 2),
    "odd_endings": (24, {id_of_name("tower"), id_of_name("bridge")}, 2),
    "train_clean": (12, {11, 22}, 2),
}


@pytest.mark.parametrize("name", FIELD)
def test_the_examples_of_the_field(shared, name):
    photos, known, landmarks = FIELD[name]
    source = Source(str(shared / f"field/{name}/source"))
    images = sources.drop_unlabelled(source.index()[0])
    ids = set(images["landmark_id"].to_pylist())
    assert known <= ids and len(ids) == landmarks
    listed = PhotoIds(images["image_id"])
    archives = source.archives()
    found = [m.image_id for a in archives for m in listed.renamed(a, 1e6) if m.data]
    assert sorted(found) == sorted(images["image_id"].to_pylist()) and len(found) == photos
    assert not any(archive.problem for archive in archives)


@pytest.mark.parametrize("layout", ["tars", "kaggle", "classes"])
def test_a_remote_source_is_like_a_local_one(tmp_path, layout):
    folder = tmp_path / "source"
    if layout == "classes":
        put(folder, "7/a.jpg", "tower/deep/b", "loose.jpg", "7/.x/c.jpg", "7/d.txt")
    else:
        put(folder, ".x/a.jpg", "README", "train/notes.txt", "train/@eaDir/x.jpg")
        (folder / "train.csv").write_text("id,landmark_id\naa,7\nbb,8\n")
        if layout == "kaggle":
            put(folder, "train/a/aa.jpg", "train/b/bb")
        else:
            (folder / "train/x.tar").write_bytes(tar_of({"aa.jpg": JPEG, "bb.jpg": JPEG}))
    remote = fsspec.filesystem("memory")
    remote.put(str(folder), "/alike", recursive=True)
    one, other = Source(str(folder)), Source("memory://alike")
    remote.rm("/alike", recursive=True)
    assert one.lines() == other.lines() and len(one.lines()) >= 3
    assert one.left_out == other.left_out
    assert one.fingerprint() == other.fingerprint()
    assert [(a.name, a.files) for a in one.archives()] == [
        (a.name, a.files) for a in other.archives()
    ]

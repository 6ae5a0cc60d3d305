"""Layouts in which the field keeps its photos, here and on other machines."""

import bz2
import gzip
import hashlib
import lzma
import shutil
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
from tests.datasets import IMAGE, JPEG, gldv2, put, tar_of

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
        sources.OTHER_FILES: 2,
        sources.NO_SOLUTION: 1,
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
        f"left out: {sources.OTHER_LISTS}, such as metadata/train_clean.csv: 1",
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

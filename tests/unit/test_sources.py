import hashlib
import io
import os
import shutil
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from landmark_ray.errors import UserError
from landmark_ray.sources import Source


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
        "train/images_000.tar was not checked: md5sum/train/md5.images_000.txt is missing or empty"
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


def test_folder_of_class_folders_is_numbered_by_name(tmp_path):
    for name in ("b/2.PNG", "b/1.jpg", "a/x.webp", "a/readme.txt", "top.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"data")
    source = Source(str(tmp_path))
    images, names, _ = source.index()
    assert images.to_pydict() == {
        "image_id": ["a/x.webp", "b/1.jpg", "b/2.PNG"],
        "landmark_id": [0, 1, 1],
    }
    assert names.to_pydict() == {"landmark_id": [0, 1], "name": ["a", "b"]}
    (archive,) = source.archives()
    assert [m.image_id for m in archive.members(100)] == images["image_id"].to_pylist()


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
        ("id,url,landmark_id\na,u,tower\n", "tower"),
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


def test_links_to_nowhere_and_loops_in_class_folders_harm_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.jpg").write_bytes(b"data")
    (tmp_path / "a/none.jpg").symlink_to("/nowhere.jpg")
    (tmp_path / "a/up").symlink_to("..")
    (archive,) = Source(str(tmp_path)).archives()
    found = [(m.image_id, m.size, m.data) for m in archive.members(100)]
    assert found == [("a/none.jpg", 0, b""), ("a/x.jpg", 4, b"data")]


def test_names_of_class_folders_are_text_and_ones_that_are_not_are_refused(tmp_path):
    (tmp_path / "a\nb").mkdir()
    (tmp_path / "a\nb/x.jpg").write_bytes(b"data")
    assert Source(str(tmp_path)).index()[1]["name"].to_pylist() == ["a\nb"]
    bad = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(bad)
    with open(bad + b"/x.jpg", "wb") as file:
        file.write(b"data")
    with pytest.raises(UserError, match="not UTF-8, rename it: '.udcff/x.jpg'"):
        Source(str(tmp_path))


def test_md5_that_is_none_is_shown_as_text(tmp_path):
    source = gldv2(tmp_path, {"images_000": tar_of(IMAGE)})
    (tmp_path / "md5sum/train/md5.images_000.txt").write_bytes(b"\xff" * 10000)
    (archive,) = source.archives()
    list(archive.members(100))
    assert archive.problem.endswith("not " + "\ufffd" * 40)


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
        "id,landmarks,Usage\n00000000000000aa,7 8,Public\nbb,,Private\n"
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
    assert solution == {"00000000000000aa": frozenset({7, 8}), "bb": frozenset()}

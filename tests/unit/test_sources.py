"""A source in GLDv2's layout: its list, its tars and their checksums."""

import io
import tarfile

import pytest

from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from tests.datasets import IMAGE, gldv2, tar_of


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


def test_md5_file_without_an_md5_is_a_note(tmp_path):
    source = gldv2(tmp_path, {"images_000": tar_of(IMAGE)})
    (tmp_path / "md5sum/train/md5.images_000.txt").write_bytes(b"\xff" * 10000)
    (archive,) = source.archives()
    assert [m.data for m in archive.members(100)] == [b"jpeg"]
    assert archive.problem == ""
    assert archive.notes == [
        "train/images_000.tar was not checked: md5sum/train/md5.images_000.txt holds no md5 of it"
    ]

"""Trees of files, drawn here: what is a photo, and what is counted as none."""

import os
import random

import fsspec
import pytest

from landmark_ray.data import file_kinds, listing
from landmark_ray.data.file_kinds import image_stem, is_hidden, photo_ending
from landmark_ray.data.listing import LeftOut, photo_files
from landmark_ray.data.store import Store

JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(40)
HEADS = {
    "jpeg": JPEG,
    "png": b"\x89PNG\r\n\x1a\n" + bytes(20),
    "webp": b"RIFF\x10\0\0\0WEBPVP8 ",
    "heic": b"\0\0\0\x18ftypheic" + bytes(8),
    "avif": b"\0\0\0\x18ftypavif" + bytes(8),
    "tiff": b"II*\0" + bytes(20),
    "bmp": b"BM" + bytes(12) + (40).to_bytes(4, "little") + bytes(10),
}
OTHERS = {
    "text": b"BMW stands here, and here, and here",
    "video": b"\0\0\0\x18ftypisom" + bytes(8),
    "sound": b"RIFF\x10\0\0\0WAVEfmt ",
    "zip": b"PK\3\4" + bytes(30),
    "empty": b"",
}


def put(folder, files: dict[str, bytes]) -> Store:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return Store(str(folder))


@pytest.mark.parametrize("remote", [False, True])
def test_known_endings_are_photos_and_the_rest_is_judged_by_its_bytes(tmp_path, remote):
    endings = random.Random(5).sample(file_kinds.PHOTO_ENDINGS, 6)
    named = {f"a/n{i}{e.upper() if i % 2 else e}": b"any" for i, e in enumerate(endings)}
    unnamed = {f"b/{kind}{e}": head for kind, head in HEADS.items() for e in ("", ".jpg_large")}
    others = {f"b/no {kind}": head for kind, head in OTHERS.items()}
    known = {"b/x.txt": JPEG, "b/x.json": JPEG, "t/x.tar.gz": JPEG, "t/x.csv": b"", "r.NEF": JPEG}
    files = named | unnamed | others | known
    if remote:
        fs = fsspec.filesystem("memory")
        for name, data in files.items():
            fs.pipe(f"/listed/{name}", data)
        folder = Store("memory://listed")
    else:
        folder = put(tmp_path, files)
    photos, left_out = photo_files(folder)
    assert photos == {n: len(files[n]) for n in sorted(named | unnamed)}
    assert left_out.counts == {
        file_kinds.OTHERS: len(OTHERS) + 2,
        file_kinds.ARCHIVES: 1,
        file_kinds.TABLES: 1,
        file_kinds.RAWS: 1,
    }
    assert "left out: archives, such as t/x.tar.gz: 1" in left_out.lines()
    if remote:
        fs.rm("/listed", recursive=True)


def test_a_known_other_kind_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "_by_bytes", lambda *_: pytest.fail("was read"))
    assert photo_files(put(tmp_path, {"a.txt": JPEG, "b.jpg": b"", "c.html": JPEG}))[0] == {
        "b.jpg": 0
    }


HIDDEN_PATHS = [
    *(
        ".git/a.jpg",
        "a/._p1.jpg",
        "@eaDir/p1.jpg/SYNO.jpg",
        "a/__MACOSX/b/p.jpg",
        ".Trash-1000/p.jpg",
    ),
    *(
        "$RECYCLE.BIN/p.jpg",
        "System Volume Information/p.jpg",
        "#recycle/p.jpg",
        ".thumbnails/p.jpg",
    ),
    *("a/Thumbs.db", "desktop.ini", "lost+found/p.jpg", ".ipynb_checkpoints/p.jpg", "a/.DS_Store"),
]


@pytest.mark.parametrize("remote", [False, True])
def test_what_is_hidden_or_a_systems_is_no_photo_and_counted(tmp_path, remote):
    files = dict.fromkeys(HIDDEN_PATHS, JPEG)
    if remote:
        fs = fsspec.filesystem("memory")
        for name, data in ({"a/p.jpg": JPEG} | files).items():
            fs.pipe(f"/hidden/{name}", data)
        folder = Store("memory://hidden")
    else:
        folder = put(tmp_path, {"a/p.jpg": JPEG} | files)
    photos, left_out = photo_files(folder)
    assert list(photos) == ["a/p.jpg"]
    assert left_out.counts == {file_kinds.HIDDEN: len(files)}
    assert left_out.examples[file_kinds.HIDDEN] in files


def test_paths_that_are_hidden():
    assert all(map(is_hidden, HIDDEN_PATHS))
    assert not any(
        map(is_hidden, ["a/b.jpg", "../../b.jpg", "./a/b.jpg", "/etc/x.jpg", "a..b/c", ""])
    )


def test_endings_and_stems():
    stems = {
        "a/b/ID.jpg": ("ID", ".jpg"),
        "p.JPEG": ("p", ".JPEG"),
        "p.jpg.webp": ("p.jpg", ".webp"),
        "IMG_2021.05.10.11": ("IMG_2021.05.10.11", ""),
        "IMG_2021.05.10.11.jfif": ("IMG_2021.05.10.11", ".jfif"),
        "a.b.jpg": ("a.b", ".jpg"),
        "p.jpg_large": ("p.jpg_large", ""),
        ".jpg": (".jpg", ""),
        "a.jpg/x": ("x", ""),
        "": ("", ""),
    }
    assert {name: (image_stem(name), photo_ending(name)) for name in stems} == stems


def test_links_are_followed_and_loops_noticed(tmp_path):
    folder = put(tmp_path / "in", {"a/x.jpg": JPEG, "b/y": JPEG, "b/deep/z.png": b"z"})
    put(tmp_path / "out", {"far.jpg": b"far", "notes.txt": b""})
    top = tmp_path / "in"
    (top / "c").symlink_to("../out")
    (top / "a/b").symlink_to("../b")
    (top / "a/y.jpg").symlink_to("../b/y")
    (top / "a/up").symlink_to("..")
    (top / "b/deep/root").symlink_to("/")
    (top / "a/self.jpg").symlink_to("self.jpg")
    (top / "a/none.jpg").symlink_to("/nowhere.jpg")
    (top / "a/none").symlink_to("/nowhere")
    photos, left_out = photo_files(folder)
    size = len(JPEG)
    assert photos == {
        "a/b/deep/z.png": 1,
        "a/b/y": size,
        "a/none.jpg": 0,
        "a/self.jpg": 0,
        "a/x.jpg": size,
        "a/y.jpg": size,
        "b/deep/z.png": 1,
        "b/y": size,
        "c/far.jpg": 3,
    }
    assert left_out.counts == {listing.LOOPS: 3, listing.BROKEN: 1, file_kinds.OTHERS: 1}


def test_folders_full_of_links_to_each_other_end(tmp_path):
    for a in range(6):
        put(tmp_path, {f"{a}/p.jpg": b""})
        for b in range(6):
            (tmp_path / f"{a}/to {b}").symlink_to(f"../{b}")
    photos, left_out = photo_files(Store(str(tmp_path)))
    assert {n for n in photos if n.count("/") == 1} == {f"{a}/p.jpg" for a in range(6)}
    assert left_out.counts[listing.LOOPS]


def test_pipes_and_closed_folders_are_counted(tmp_path, monkeypatch):
    folder = put(tmp_path, {"a/x.jpg": JPEG, "b/x.jpg": JPEG, "c": JPEG})
    os.mkfifo(tmp_path / "a/pipe.jpg")
    scandir, opened = os.scandir, open

    def refuse(path):
        if str(path).endswith("/b"):
            raise PermissionError(path)
        return scandir(path)

    def refuse_file(path, *args):
        if str(path).endswith("/c"):
            raise PermissionError(path)
        return opened(path, *args)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything
    monkeypatch.setattr("builtins.open", refuse_file)
    photos, left_out = photo_files(folder)
    assert list(photos) == ["a/x.jpg"]
    assert left_out.counts == {
        listing.SPECIAL: 1,
        listing.UNREADABLE_FOLDERS: 1,
        listing.UNREADABLE: 1,
    }


def test_a_name_that_is_not_utf8_can_be_opened_and_printed(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9\n.jpg", "wb") as file:
        file.write(JPEG)
    folder = Store(str(tmp_path))
    (name,) = photo_files(folder)[0]
    assert folder.read(name) == JPEG
    assert file_kinds.printable(name) == "caf\\xe9\\n.jpg"


def test_lines_name_one_example_of_each_kind():
    left_out = LeftOut()
    left_out.add("pipes", "p")
    left_out.add("tables", "a.csv")
    left_out.add("tables", "b.csv", 1200)
    assert left_out.lines() == [
        "left out: tables, such as a.csv: 1,201",
        "left out: pipes, such as p: 1",
    ]
    assert sum(left_out.counters().values()) == 1202


def test_the_examples_of_the_field(shared):
    photos, left_out = photo_files(Store(str(shared / "field/odd_endings/source")))
    assert len(photos) == 24 and not left_out.counts
    photos, left_out = photo_files(Store(str(shared / "field/hidden_folder/source")))
    assert len(photos) == 18 and left_out.counts == {file_kinds.HIDDEN: 1}

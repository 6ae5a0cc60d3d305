"""Hostile and damaged tars: photos before the damage are found, a note says what it is."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import tarfile
import time
import tracemalloc
from pathlib import Path

import pytest

from landmark_ray.data import decompression
from landmark_ray.data.archives import Archive
from landmark_ray.data.decompression import HashedStream
from landmark_ray.data.file_kinds import HIDDEN, OTHERS, TABLES
from landmark_ray.data.listing import LeftOut
from landmark_ray.data.store import Store
from landmark_ray.data.tars import DAMAGED, accept_all, tar_members

END = b"\0" * 1024


def header(name=b"x.jpg", size: int | bytes = 0, kind=b"0") -> bytes:
    """A header block with a right checksum, whatever it says."""
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    block[0:100] = name[:100].ljust(100, b"\0")
    block[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def blocks(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // 512) * 512, b"\0")


def pax(key: bytes, value: bytes, kind=b"x") -> bytes:
    """What is said of the next member."""
    length = len(key) + len(value) + 3
    while len(b"%d %s=%s\n" % (length, key, value)) != length:
        length = len(b"%d %s=%s\n" % (length, key, value))
    record = b"%d %s=%s\n" % (length, key, value)
    return header(b"pax", len(record), kind) + blocks(record)


def long_name(name: bytes) -> bytes:
    return header(b"././@LongLink", len(name), b"L") + blocks(name)


PHOTO = header(b"a/good.jpg", 3) + blocks(b"abc")
LAST = header(b"a/last.jpg", 3) + blocks(b"xyz") + END
HUGE = b"\x80\0\0\0" + (2**60).to_bytes(8, "big")

NAMES = {  # read on; what the member's id is
    "absolute": (header(b"/etc/evil.jpg", 3) + blocks(b"abc"), "evil"),
    "up": (header(b"../../evil.jpg", 3) + blocks(b"abc"), "evil"),
    "newline": (header(b"a\nb.jpg", 3) + blocks(b"abc"), "a\nb"),
    "no UTF-8": (header(b"\xff\xfe.jpg", 3) + blocks(b"abc"), r"\xff\xfe [9f7b1427]"),
    "10 kB": (long_name(b"a/" + b"q" * 10000 + b".jpg") + PHOTO, "q" * 10000),
    "pax, 10 kB": (pax(b"path", b"../" + b"q" * 10000 + b".jpg") + PHOTO, "q" * 10000),
    "pax, no UTF-8": (pax(b"hdrcharset", b"BINARY") + PHOTO, "good"),
    "dots": (header(b"IMG_2021.05.10.11.jpg", 3) + blocks(b"abc"), "IMG_2021.05.10.11"),
    "no ending": (header(b"a.b/IMG_2021.05", 3) + blocks(b"abc"), "IMG_2021.05"),
    "in this folder": (header(b"./a/x.JPG", 3) + blocks(b"abc"), "x"),
    "twice": (PHOTO, "good"),
    "none": (header(b"", 3) + blocks(b"abc"), ""),
}

PASSED_OVER = {
    f"kind {kind}": header(b"evil.jpg", 0, kind.encode()) for kind in "123456DVMNKxgX"
} | {"many global headers": b"".join(pax(b"k%d" % i, b"v", b"g") for i in range(30))}

CUT = "unexpected end of data"
SPARSE = "sparse files are not read"
RECURSION = "maximum recursion depth exceeded"

DAMAGES = {  # with the ids of the members that are read, and the note; the first is before it
    "negative size": (header(size=b"-0000000010\0") + b"abc", ["good", "x"], "bad checksum"),
    "size that is no number": (header(size=b"zzzzzzzzzzz\0"), ["good"], "invalid header"),
    "2^60 bytes": (header(size=HUGE), ["good", "x"], CUT),
    "pax, size of 10^14": (pax(b"size", b"9" * 14) + PHOTO, ["good", "good"], CUT),
    "pax, negative size": (
        *(pax(b"size", b"-1024") + PHOTO, ["good", "good"]),
        "seeking backwards is not allowed",
    ),
    "pax, sparse": (pax(b"GNU.sparse.map", b"0,1,1000000000000,1") + PHOTO, ["good"], SPARSE),
    "pax, sparse of another kind": (  # without the map that would make it one
        pax(b"GNU.sparse.major", b"1") + pax(b"GNU.sparse.realsize", b"9" * 12) + PHOTO,
        *(["good", "good", "last"], ""),
    ),
    "sparse": (header(kind=b"S"), ["good"], SPARSE),
    "long name of 2 GB": (
        *(header(size=2**31, kind=b"L") + b"a" * 4096, ["good"]),
        "a header of 2147483648 bytes",
    ),
    "pax of 100 MB": (
        *(header(size=10**8, kind=b"x") + b"100000000 path=a", ["good"]),
        "a header of 100000000 bytes",
    ),
    "long names of long names": (long_name(b"abc") * 3000, ["good"], RECURSION),
    "pax of pax": (pax(b"a", b"b") * 3000, ["good"], RECURSION),
    "pax of no length": (
        *(header(size=6, kind=b"x") + blocks(b"0 a=b\n"), ["good"]),
        "invalid header",
    ),
    "link with bytes": (header(size=3, kind=b"2") + blocks(b"abc"), ["good"], "bad checksum"),
    "noise": (random.Random(0).randbytes(512), ["good"], "invalid header"),
    "cut": (PHOTO[:700], ["good", "good"], CUT),
}


def read(tmp_path: Path, data: bytes):
    """Ids of a tar's members, and the notes."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a.tar").write_bytes(data)
    before = sorted(tmp_path.rglob("*"))
    archive = Archive("a.tar", Store(str(tmp_path / "root")), len(data))
    found = [member.image_id for member in archive.members(1e6)]
    assert sorted(tmp_path.rglob("*")) == before
    return found, archive.notes


@pytest.mark.parametrize("what", NAMES)
def test_a_name_is_only_text_whatever_it_says(tmp_path, what):
    data, image_id = NAMES[what]
    assert read(tmp_path, PHOTO + data + LAST) == (["good", image_id, "last"], [])


@pytest.mark.parametrize("what", PASSED_OVER)
def test_links_devices_folders_and_remarks_are_passed_over(tmp_path, what):
    found, notes = read(tmp_path, PHOTO + PASSED_OVER[what] + LAST)
    assert [i for i in found if i not in ("evil", "")] == ["good", "last"] and not notes


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_is_noted_and_soon_and_what_came_before_it_counts(tmp_path, what):
    data, ids, why = DAMAGES[what]
    begun = time.monotonic()
    found, notes = read(tmp_path, PHOTO + data + (b"" if what == "cut" else LAST))
    assert found == ids
    said = [note.partition(" while ")[0] for note in notes]  # what a recursion ends in varies
    assert said == ([f"a.tar is damaged: {why}"] if why else [])
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("data", "ids", "why"),
    [
        (b"", [], "empty header"),
        (b"\0" * 512, [], None),
        (gzip.compress(b"x"), [], "truncated header"),
        (b"\x1f\x8b" * 900, [], "bad compressed data"),
        (PHOTO, ["good"], "empty header"),
    ],
)
def test_what_is_no_whole_tar_ends_nothing(tmp_path, data, ids, why):
    found, notes = read(tmp_path, data)
    assert found == ids
    said = [note.removeprefix("a.tar is damaged: ").partition(":")[0] for note in notes]
    assert said == ([why] if why else [])


NO_PHOTOS = ["a/._good.jpg", "__MACOSX/a/good.jpg", "@eaDir/good.jpg", ".x/good.jpg", "a/Thumbs.db"]


def test_members_that_are_hidden_or_no_photos_are_passed_over_and_counted(tmp_path):
    names = [*NO_PHOTOS, "a/good.json", "a/good.txt", "train.csv"]
    data = b"".join(header(name.encode(), 3) + blocks(b"abc") for name in names)
    (tmp_path / "a.tar").write_bytes(PHOTO + data + LAST)
    archive = Archive("a.tar", Store(str(tmp_path)), 1)
    assert [m.name for m in archive.members(1e6)] == ["a/good.jpg", "a/last.jpg"]
    assert archive.left_out.counts == {HIDDEN: 5, OTHERS: 2, TABLES: 1}


def test_members_that_are_not_wanted_are_not_read(tmp_path):
    (tmp_path / "a.tar").write_bytes(PHOTO + LAST)
    archive = Archive("a.tar", Store(str(tmp_path)), 1)
    assert [m.data for m in archive.members(1e6, lambda name: "last" in name)] == [b"xyz"]


PACKERS = [gzip.compress, bz2.compress, lzma.compress]


@pytest.mark.parametrize("pack", PACKERS)
def test_packed_parts_in_a_row_are_one_tar_and_damage_is_noted(tmp_path, pack):
    whole = PHOTO + header(b"a/noise.jpg", 300_000) + blocks(os.urandom(300_000)) + LAST
    parts = pack(whole[:1000]) + pack(whole[1000:])
    found, notes = read(tmp_path, parts + bytes(100))
    assert (found, notes) == (["good", "noise", "last"], [])
    cut = parts[: len(parts) // 2]
    flipped = bytearray(parts)
    flipped[len(parts) // 2] ^= 255
    for data, why in (
        (cut, "unexpected end of compressed data"),
        (bytes(flipped), "bad compressed data"),
    ):
        (tmp_path / why).mkdir()
        found, (note,) = read(tmp_path / why, data)
        assert found == ["good"]
        assert note.startswith(f"a.tar is damaged: {why}")


@pytest.mark.parametrize("pack", PACKERS)
def test_a_bomb_is_given_up_and_takes_no_memory(tmp_path, pack, monkeypatch):
    monkeypatch.setattr(decompression, "SLACK", 20 << 20)
    bomb = pack(PHOTO + header(b"a/zeros.jpg", 200 << 20) + bytes(100 << 20))
    tracemalloc.start()
    found, notes = read(tmp_path, bomb)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[0] == "good" and "it decompresses to more than 100 times its size" in notes[0]
    assert most < 16 << 20


class Endless(io.RawIOBase):
    """A tar of so many members, made as it is read."""

    def __init__(self, members: int) -> None:
        self.left, self.waiting = members, b""

    def read(self, size: int = -1) -> bytes:
        while len(self.waiting) < size and self.left:
            self.waiting += b"".join(
                pax(b"comment%d" % (self.left - i), b"v", b"g") + header(b"%x.jpg" % i)
                for i in range(min(self.left, 500))
            )
            self.left -= min(self.left, 500)
        data, self.waiting = self.waiting[:size], self.waiting[size:]
        return data


def peak(members: int) -> int:
    """Bytes at most while so many members are read."""
    tracemalloc.start()
    try:
        count = sum(1 for _ in lenient(members))
        assert count == members
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def lenient(members: int):
    with contextlib.suppress(DAMAGED):  # it has no end
        yield from tar_members(HashedStream(Endless(members)), 1e6, accept_all, LeftOut())


def test_memory_does_not_grow_with_the_members():
    few, many = peak(1_000), peak(8_000)
    assert many < 1.2 * few and many < 16e6

"""Which photo of a list a file is: lists name files with their endings and folders, or without."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.data.archives import Archive
from landmark_ray.data.file_kinds import PHOTO_ENDINGS, image_stem
from landmark_ray.data.tars import Member

_ODD_ENDING = re.compile(
    rf"\.({'|'.join(e[1:] for e in PHOTO_ENDINGS)})[^0-9a-z./][^./]*$", re.IGNORECASE
)
"""Of "p.jpg_large" and "p.jpg!d", as downloads are called."""


class PhotoIds:
    """Ids of a list, to be found by the names of files.

    An id that is a file's name, with or without folders and ending, is that file. Of an id with an
    ending or with folders also a file is meant that agrees but for these, unless two such do.
    """

    def __init__(self, ids: pa.ChunkedArray | pa.Array, *, loose: bool = True) -> None:
        """Sort the ids.

        Args:
            ids: [N] strings, each once, without nulls.
            loose: whether files may agree but for endings and folders; not where `ids` are a part
                of a list, others of which such files may be.
        """
        self.keys, order = _sorted(ids)
        with_folders = pc.match_substring(ids, "/")
        self.folders = bool(pc.any(with_folders).as_py())
        with_dots = pc.match_substring(ids, ".")
        others = pc.or_(with_folders, with_dots).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(others & loose)
        stems = [image_stem(name) for name in ids.take(pa.array(rows)).to_pylist()]
        self.stems, places = _sorted(pa.array(stems, pa.string()))
        self.stem_places = np.argsort(order)[rows[places]]

    def __len__(self) -> int:
        """Ids."""
        return len(self.keys)

    def __getitem__(self, place: int) -> str:
        """The id at a place."""
        return bytes(self.keys[place]).decode()

    def places(self, ids: pa.ChunkedArray) -> NDArray[np.int64]:
        """Of ids that are among these."""
        keys, order = _sorted(ids)
        found = np.empty(len(keys), np.int64)
        found[order] = np.searchsorted(self.keys, keys)
        return found

    def find(self, name: str) -> tuple[int, bool]:
        """Place of the id that means a file, or -1, and whether the file is called just like it."""
        for key in _keys(name, self.folders):
            place = _lookup(self.keys, key)
            if place >= 0:
                return place, True
        for key in _keys(name, False) if len(self.stems) else ():
            first = _lookup(self.stems, key)
            if first >= 0 and _lookup(self.stems[first + 1 : first + 2], key) < 0:
                return int(self.stem_places[first]), False
        return -1, False

    def renamed(self, archive: Archive, max_bytes: float) -> Iterator[Member]:
        """The photos of an archive that are in the list, under their ids there."""
        for member in archive.members(max_bytes, lambda name: self.find(name)[0] >= 0):
            yield replace(member, image_id=self[self.find(member.name)[0]])


def _keys(name: str, folders: bool) -> Iterator[bytes]:
    """What a list may call a file, the most exact first."""
    parts = name.split("/")
    if folders and ".." not in parts:
        for first in range(len(parts) - 1):
            place = "/".join(parts[first:])
            yield place.encode()
            yield place[: -len(parts[-1]) or None].encode() + image_stem(parts[-1]).encode()
    base = parts[-1]
    yield base.encode()
    stem = image_stem(base)
    while stem != base:
        yield stem.encode()
        base, stem = stem, image_stem(stem)
    odd = _ODD_ENDING.sub("", base)
    forms = [unicodedata.normalize(f, base) for f in ("NFC", "NFD")]  # macOS writes the latter
    for other in (base.strip(), odd, *forms):
        if other != base:
            yield other.encode()


def _lookup(keys: NDArray[np.bytes_], key: bytes) -> int:
    """First place of a key among sorted ones, or -1."""
    if len(key) > keys.itemsize:  # numpy would widen them all
        return -1
    place = int(np.searchsorted(keys, key))
    return place if place < len(keys) and keys[place] == key else -1


def _sorted(ids: pa.ChunkedArray | pa.Array) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    """Ids as sorted bytes, and the row of each."""
    names = ids.cast(pa.binary())
    chunks = names.chunks if isinstance(names, pa.ChunkedArray) else [names]
    parts = [np.array(chunk.to_pylist(), bytes) for chunk in chunks]  # few are Python objects
    keys = np.concatenate([np.array([], bytes), *parts])
    order = np.argsort(keys, kind="stable")
    return keys[order], order

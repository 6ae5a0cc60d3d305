"""Which id of a list a file has: lists name files with or without their folders and endings."""

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
"""Endings of downloads, such as those of "p.jpg_large" and "p.jpg!d"."""


class PhotoIds:
    """The ids of a list, which are found by the names of files.

    An id means the file with that name, with or without folders and ending. An id with folders or
    an ending also means a file with other folders or another ending, unless two ids match it.
    """

    def __init__(self, ids: pa.ChunkedArray | pa.Array, *, loose: bool = True) -> None:
        """Sort the ids.

        Args:
            ids: [N] distinct strings without nulls.
            loose: Whether an id also means a file with other folders or another ending. Use False
                if `ids` are only a part of a list, since the file may belong to the rest.
        """
        self.keys, order = _sorted(ids)
        with_folders = pc.match_substring(ids, "/")
        self.folders = bool(pc.any(with_folders).as_py())
        with_dots = pc.match_substring(ids, ".")
        others = pc.or_(with_folders, with_dots).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(others & loose)
        stems = [image_stem(name) for name in ids.take(pa.array(rows)).to_pylist()]
        self.stems, stem_order = _sorted(pa.array(stems, pa.string()))
        self.stem_indices = np.argsort(order)[rows[stem_order]]

    def __len__(self) -> int:
        """Return the number of ids."""
        return len(self.keys)

    def __getitem__(self, index: int) -> str:
        """Return the id at an index, in sorted order."""
        return bytes(self.keys[index]).decode()

    def indices(self, ids: pa.ChunkedArray) -> NDArray[np.int64]:
        """Return the indices [N] of ids, -1 for one that is not among these."""
        keys, order = _sorted(ids)
        found = np.searchsorted(self.keys, keys)
        same = np.append(self.keys, b"")[found] == keys
        indices = np.empty(len(keys), np.int64)
        indices[order] = np.where(same & (found < len(self.keys)), found, -1)
        return indices

    def find(self, name: str) -> tuple[int, bool]:
        """Return the index of the id that means a file, or -1, and whether the names are equal."""
        for key in _keys(name, self.folders):
            index = _lookup(self.keys, key)
            if index >= 0:
                return index, True
        for key in _keys(name, False) if len(self.stems) else ():
            first = _lookup(self.stems, key)
            if first >= 0 and _lookup(self.stems[first + 1 : first + 2], key) < 0:
                return int(self.stem_indices[first]), False
        return -1, False

    def renamed(self, archive: Archive, max_bytes: float) -> Iterator[Member]:
        """Yield the photos of an archive that are in the list, under their ids in the list."""
        for member in archive.members(max_bytes, lambda name: self.find(name)[0] >= 0):
            yield replace(member, image_id=self[self.find(member.name)[0]])


def _keys(name: str, folders: bool) -> Iterator[bytes]:
    """Yield the names that a list may give a file, the most exact first."""
    parts = name.split("/")
    if folders and ".." not in parts:
        for first in range(len(parts) - 1):
            path = "/".join(parts[first:])
            yield path.encode()
            yield path[: -len(parts[-1]) or None].encode() + image_stem(parts[-1]).encode()
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
    """Return the first index of a key among sorted keys, or -1."""
    if len(key) > keys.itemsize:  # else numpy would copy all keys to wider ones
        return -1
    index = int(np.searchsorted(keys, key))
    return index if index < len(keys) and keys[index] == key else -1


def _sorted(ids: pa.ChunkedArray | pa.Array) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    """Return ids as sorted bytes, and the row of each."""
    names = ids.cast(pa.binary())
    chunks = names.chunks if isinstance(names, pa.ChunkedArray) else [names]
    parts = [np.array(chunk.to_pylist(), bytes) for chunk in chunks]  # few Python objects at a time
    keys = np.concatenate([np.array([], bytes), *parts])
    order = np.argsort(keys, kind="stable")
    return keys[order], order

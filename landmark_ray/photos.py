"""Photos to be recognised: tars, a folder, or a table; in parts that are read in one go."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from landmark_ray.errors import UserError
from landmark_ray.sources import FOLDER_CHUNK, SUFFIXES, Archive, Member
from landmark_ray.storage import Folder

IDS, BYTES = ("image_id", "id"), ("jpeg", "image", "bytes")
"""Names of the columns of a table of photos."""

TABLE_ROWS = 256
"""Rows of a table that are read at once."""


@dataclass
class TablePart:
    """A Parquet file of photos."""

    name: str
    folder: Folder
    size: int
    problem: str = ""
    notes: list[str] = field(default_factory=list)

    def members(self, max_bytes: float) -> Iterator[Member]:
        """All photos, in the order of the rows.

        Raises:
            UserError: it has no columns of ids and bytes, or is damaged.
        """
        file = self.folder.open_table(self.name)
        ids, data = (_column(file.schema_arrow.names, n, self) for n in (IDS, BYTES))
        try:
            for batch in file.iter_batches(TABLE_ROWS, columns=[ids, data]):
                for image_id, value in zip(batch[ids], batch[data], strict=True):
                    found = _bytes(value.as_py())
                    size = len(found)
                    yield Member(str(image_id.as_py()), size, found if size <= max_bytes else b"")
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self.folder.uri}/{self.name} is damaged: {error}") from None


Part = Archive | TablePart


class Photos:
    """Photos at a URI: a tar, a folder with tars, a folder of photos, or Parquet tables.

    Of a dataset in GLDv2's layout the test set is meant.

    Raises:
        UserError: there are none.
    """

    def __init__(self, uri: str) -> None:
        """Find out what there is."""
        self.folder, single = _folder_of(uri)
        files = {single: 1} if single else self.folder.files()
        tars = [n for n in files if n.endswith(".tar")]
        test = [n for n in tars if n.startswith("test/")]
        tables = [n for n in files if n.endswith(".parquet")]
        images = [n for n in files if n.lower().endswith(SUFFIXES)]
        self.parts: list[Part] = []
        if tars:
            self.parts = [self._tar(name, files) for name in test or tars]
        elif tables:
            self.parts = [TablePart(name, self.folder, files[name]) for name in tables]
        else:
            for start in range(0, len(images), FOLDER_CHUNK):
                chunk = images[start : start + FOLDER_CHUNK]
                size = sum(files[name] for name in chunk)
                name = f"files-{start // FOLDER_CHUNK:06d}"
                self.parts.append(Archive(name, self.folder, size, tuple(chunk)))
        if not self.parts:
            raise UserError(
                f"--source: {uri} has no photos: no .tar, .parquet or {', '.join(SUFFIXES)}"
            )
        stems = [_stem(name) for name in images]
        self._plain = len(set(stems)) == len(stems)
        """Whether files are told apart by their names without folder and ending."""

    def image_id(self, member: Member, part: Part) -> str:
        """The id of a photo: of a file its name, with folder and ending only if need be."""
        files = isinstance(part, Archive) and part.files
        return _stem(member.image_id) if files and self._plain else member.image_id

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(part.size for part in self.parts)

    def fingerprint(self) -> str:
        """What is there, as a hex digest: names and sizes."""
        lines = [f"{p.name} {p.size} {' '.join(getattr(p, 'files', ()))}" for p in self.parts]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def _tar(self, name: str, files: dict[str, int]) -> Archive:
        """A tar; beside it, as in GLDv2, may lie its checksum."""
        path = PurePosixPath(name)
        md5 = f"md5sum/{path.parent}/md5.{path.stem}.txt"
        return Archive(name, self.folder, files[name], md5_file=md5 if md5 in files else "")


def _folder_of(uri: str) -> tuple[Folder, str]:
    """A folder, and the name of the one file in it that is meant, if one is."""
    folder = Folder(uri)
    if folder.web or not folder.exists():
        raise UserError(f"--source: there is nothing at {uri}, or it can't be listed")
    if folder.fs.isfile(folder.path):
        parent, _, name = folder.uri.rpartition("/")
        return Folder(parent or "/"), name
    return folder, ""


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _column(names: list[str], wanted: tuple[str, ...], part: TablePart) -> str:
    found = next((name for name in wanted if name in names), None)
    if found is None:
        raise UserError(
            f"{part.folder.uri}/{part.name} needs a column {' or '.join(wanted)}, "
            f"it has {', '.join(names)}"
        )
    return found


def _bytes(value: Any) -> bytes:
    """The bytes of a cell; Hugging Face's image column is a struct with `bytes`."""
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else b""

"""Archives: sets of photos that are read from beginning to end, such as a tar."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from landmark_ray.data.decompression import HashedStream, decompress
from landmark_ray.data.file_kinds import printable, text_id
from landmark_ray.data.listing import LeftOut
from landmark_ray.data.md5_files import md5_for
from landmark_ray.data.store import Store
from landmark_ray.data.tars import DAMAGED, Member, Wanted, accept_all, tar_members

TAR_ENDINGS = (*(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz"),)
"""Endings of tars. Compressed tars are read as streams, and never decompressed to a disk."""

FOLDER_CHUNK = 512
"""Number of files of a folder that are read as one archive."""


@dataclass
class Archive:
    """A tar, or some files of a folder.

    The last attributes are complete when all of `members` has been read.

    Attributes:
        name: Name in the folder.
        folder: Where the archive lies.
        size: Bytes of all files.
        files: Names of the files; empty for a tar.
        md5_file: Name of the file with the md5 of a tar; empty if there is none.
        problem: Why no member can be trusted; empty if they can.
        damage: Why members are missing; empty if none are.
        notes: Lines for people.
        left_out: The files that are not used, counted by kind.
    """

    name: str
    folder: Store
    size: int
    files: tuple[str, ...] = ()
    md5_file: str = ""
    problem: str = ""
    damage: str = ""
    notes: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)

    def members(self, max_bytes: float, wanted: Wanted = accept_all) -> Iterator[Member]:
        """Yield the wanted photos in order; a photo of more than `max_bytes` has no data."""
        if self.files:
            for name in self.files:
                if wanted(text_id(name)):
                    yield self._file(name, max_bytes)
            return
        with self.folder.open(self.name) as raw:
            file = HashedStream(raw)
            stream = file
            try:
                stream = decompress(file)
                yield from tar_members(stream, max_bytes, wanted, self.left_out)
                stream.drain()
            except DAMAGED as error:
                self.damage = f"{printable(self.name)} is damaged: {error}"
                self.notes.append(self.damage)
            file.drain()
        self._check({file.md5.hexdigest(), stream.md5.hexdigest()})

    def _file(self, name: str, max_bytes: float) -> Member:
        text = text_id(name)
        try:
            size = self.folder.size(name)
            data = self.folder.read(name) if size <= max_bytes else b""
            return Member(text, size, data, text)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise  # the machine lacks resources; the file may be sound
            if error.errno == errno.ELOOP:
                why = "a link to itself"
            elif self.folder.local and os.path.islink(self.folder.path_of(name)):
                why = "a link to nowhere"
            else:
                why = error.strerror or type(error).__name__
            return Member(text, 0, b"", text, f"can't be read: {why}")

    def _check(self, actual: set[str]) -> None:
        """Compare the md5s of the file, as it is and decompressed, with the one in `md5_file`."""
        if not self.md5_file:
            return
        name, md5_file = printable(self.name), printable(self.md5_file)
        try:
            data = self.folder.read(self.md5_file)
        except FileNotFoundError:
            self.notes.append(f"{name} was not checked: {md5_file} is missing")
            return
        md5 = md5_for(data, self.name.rpartition("/")[2])
        if md5 is None:
            self.notes.append(f"{name} was not checked: {md5_file} holds no md5 of it")
        elif md5 not in actual:
            has = " or ".join(sorted(actual))
            self.problem = f"wrong md5: {name} has {has}, not {md5}"
            self.notes.append(f"{self.problem}; all its images are rejected: download it again")


def chunks_of(folder: Store, files: dict[str, int]) -> list[Archive]:
    """Divide files of a folder (name -> bytes) into archives of `FOLDER_CHUNK` files."""
    names = list(files)
    chunks = [names[i : i + FOLDER_CHUNK] for i in range(0, len(names), FOLDER_CHUNK)]
    return [
        Archive(f"files-{i:06d}", folder, sum(files[name] for name in chunk), tuple(chunk))
        for i, chunk in enumerate(chunks)
    ]


def tar_stem(name: str) -> str:
    """Return a tar's name without folders and ending, or "" if the name is not that of a tar."""
    base = name.rpartition("/")[2]
    endings = [e for e in TAR_ENDINGS if base.lower().endswith(e)]
    return base[: -max(map(len, endings))] if endings else ""

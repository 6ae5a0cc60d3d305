"""The photos that `predict` recognises: in files, tars and tables."""

import hashlib
import re
from collections.abc import Iterator

from landmark_ray.data.archives import TAR_ENDINGS, Archive, chunks_of, tar_stem
from landmark_ray.data.concurrently import READERS, map_concurrently
from landmark_ray.data.file_kinds import (
    OTHERS,
    PHOTO_ENDINGS,
    is_image,
    kind_by_name,
    printable,
    text_id,
)
from landmark_ray.data.listing import LeftOut, photos_among, visible_files
from landmark_ray.data.photo_tables import ENDING, DamagedError, TablePart
from landmark_ray.data.store import Store
from landmark_ray.data.tars import Member
from landmark_ray.errors import UserError

Part = Archive | TablePart

BARE_TABLES = "tables without photos"
NOT_TEST = "files outside of test/, the only part of a dataset that is answered"

_TRAINING = re.compile(r"(metadata/)?train\.csv|train/.*", re.DOTALL)
_TEST_TAR = re.compile(r"test/images_\d+\.t\S+")


class Photos:
    """All photos at a URI: a tar, a Parquet table, or a folder of these and of photo files.

    If a dataset has a training set (`train.csv` or `train/`) beside `test/`, only `test/` is used.

    Attributes:
        folder: The folder to which the names of all parts are relative.
        parts: Units that are read from beginning to end: tars, then tables, then chunks of files.
        files: Number of photos that are files.
        fingerprint: Hex digest of the names and sizes of all parts and files.
        left_out: The files that are not used; those in tars are counted when the tars are read.

    Raises:
        UserError: There are no photos.
    """

    def __init__(self, uri: str, option: str = "--source") -> None:
        """List the photos; `option` is the name of the option that errors name."""
        self.folder, single = _folder_of(uri, option)
        self.left_out = LeftOut()
        all_files = (
            {single: self.folder.size(single)}
            if single
            else visible_files(self.folder, self.left_out)
        )
        files = _answered(all_files, self.left_out)
        tars = [name for name in files if name.lower().endswith(TAR_ENDINGS)]
        tables, lacks = self._tables(
            [name for name in files if name.lower().endswith(ENDING)], files
        )
        rest = {n: s for n, s in files.items() if not n.lower().endswith((*TAR_ENDINGS, ENDING))}
        images = photos_among(self.folder, rest, self.left_out)
        self.files = len(images)
        self.parts: list[Part] = [self._tar(name, all_files) for name in tars]
        self.parts += tables
        self.parts += chunks_of(self.folder, images)
        if not self.parts:
            endings = ", ".join((*TAR_ENDINGS, ENDING, *PHOTO_ENDINGS))
            why = "; ".join(lacks[:1] or [f"no {endings}", *self.left_out.lines()])
            raise UserError(f"{option}: {uri} has no photos: {why}")
        digest = hashlib.sha256()
        for name, size in (*((part.name, part.size) for part in self.parts), *images.items()):
            digest.update(f"{size} {name}\n".encode(errors="surrogateescape"))
        self.fingerprint = digest.hexdigest()[:16]

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)

    def lines(self) -> list[str]:
        """Return lines for people that say what is answered, and what is left out."""
        tables = sum(isinstance(part, TablePart) for part in self.parts)
        chunks = sum(isinstance(part, Archive) and bool(part.files) for part in self.parts)
        counts = {
            "tar": len(self.parts) - tables - chunks,
            "table": tables,
            "file": self.files,
        }
        shown = [f"{n:,} {kind}{'s' * (n != 1)}" for kind, n in counts.items() if n]
        return [f"photos of {', '.join(shown)} in {self.folder.shown}", *self.left_out.lines()]

    def _tables(self, names: list[str], files: dict[str, int]) -> tuple[list[TablePart], list[str]]:
        """Return the tables of photos, and why others are none; count the others as left out."""
        tables = [TablePart(name, self.folder, files[name]) for name in names]
        readers = 1 if self.folder.local else READERS
        lacks = dict(zip(names, map_concurrently(TablePart.lacks, tables, readers), strict=True))
        for name in names:
            if lacks[name]:
                self.left_out.add(BARE_TABLES, name)
        return [t for t in tables if not lacks[t.name]], list(filter(None, lacks.values()))

    def _tar(self, name: str, files: dict[str, int]) -> Archive:
        """Return a tar, with its checksum file if there is one, as in GLDv2."""
        md5 = f"md5sum/{name.rpartition('/')[0] or '.'}/md5.{tar_stem(name)}.txt"
        return Archive(name, self.folder, files[name], md5_file=md5 if md5 in files else "")


def photos_of(part: Part, max_bytes: float) -> Iterator[Member]:
    """Yield the photos of a part in order; its other files are counted in its `left_out`.

    Raises:
        DamagedError: The rest of the part is damaged.
        UserError: The store fails.
    """
    try:
        for member in part.members(max_bytes):
            in_tar = isinstance(part, Archive) and not part.files
            if in_tar and kind_by_name(member.name) is None and not is_image(member.data):
                part.left_out.add(OTHERS, member.name)
            else:
                yield member
    except OSError as error:
        why = error.strerror or error
        raise DamagedError(f"{printable(part.name)} can't be read: {why}") from None
    if isinstance(part, Archive) and part.damage:
        raise DamagedError(part.damage)


def holder(part: Part) -> str:
    """Return the name of the tar or table that holds a part's photos, or "" if they are files."""
    return "" if isinstance(part, Archive) and part.files else text_id(part.name)


def _answered(files: dict[str, int], left_out: LeftOut) -> dict[str, int]:
    """Return the files to answer: those of the test set if the folder is a dataset, else all."""
    test = {name: size for name, size in files.items() if name.startswith("test/")}
    dataset = any(_TRAINING.fullmatch(n) for n in files) or any(map(_TEST_TAR.fullmatch, test))
    photos = any(
        name.lower().endswith((*TAR_ENDINGS, ENDING)) or not kind_by_name(name) for name in test
    )
    if not (dataset and photos):
        return files
    others = [name for name in files if name not in test]
    if others:
        left_out.add(NOT_TEST, others[0], len(others))
    return test


def _folder_of(uri: str, option: str) -> tuple[Store, str]:
    """Return a folder, and the name of a file in it if the URI is that of a file, else ""."""
    folder = Store(uri)
    if folder.web or not folder.exists():
        raise UserError(f"{option}: there is nothing at {uri}, or it cannot be listed")
    if folder.fs.isfile(folder.path):
        parent, _, name = folder.uri.rpartition("/")
        return Store(parent or "/"), name
    return folder, ""

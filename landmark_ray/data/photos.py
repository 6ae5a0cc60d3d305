"""Photos to be recognised: files, those in tars and those in tables; in parts read in one go."""

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from landmark_ray.data.archives import TAR_ENDINGS, Archive, chunks_of, tar_stem
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
NOT_TEST = "files outside of test/, which alone is answered of a dataset"

_TRAINING = re.compile(r"(metadata/)?train\.csv|train/.*", re.DOTALL)
_TEST_TAR = re.compile(r"test/images_\d+\.t\S+")


class Photos:
    """All photos at a URI: a tar, a Parquet table, or a folder with such and with files of photos.

    Of a dataset with a training set (`train.csv` or `train/`) beside `test/` the latter is meant.

    Attributes:
        folder: the names of all parts begin there.
        parts: what is read in one go: tars, then tables, then chunks of files.
        files: how many photos are files.
        fingerprint: hex digest of the names and sizes of all.
        left_out: what else lies there; what is in tars is known when they are read.

    Raises:
        UserError: there are none.
    """

    def __init__(self, uri: str) -> None:
        """Find out what there is."""
        self.folder, single = _folder_of(uri)
        self.left_out = LeftOut()
        found = (
            {single: self.folder.size(single)}
            if single
            else visible_files(self.folder, self.left_out)
        )
        files = _answered(found, self.left_out)
        tars = [name for name in files if name.lower().endswith(TAR_ENDINGS)]
        tables, lacks = self._tables(
            [name for name in files if name.lower().endswith(ENDING)], files
        )
        rest = {n: s for n, s in files.items() if not n.lower().endswith((*TAR_ENDINGS, ENDING))}
        images = photos_among(self.folder, rest, self.left_out)
        self.files = len(images)
        self.parts: list[Part] = [self._tar(name, found) for name in tars]
        self.parts += tables
        self.parts += chunks_of(self.folder, images)
        if not self.parts:
            endings = ", ".join((*TAR_ENDINGS, ENDING, *PHOTO_ENDINGS))
            why = "; ".join(lacks[:1] or [f"no {endings}", *self.left_out.lines()])
            raise UserError(f"--source: {uri} has no photos: {why}")
        digest = hashlib.sha256()
        for name, size in (*((part.name, part.size) for part in self.parts), *images.items()):
            digest.update(f"{size} {name}\n".encode(errors="surrogateescape"))
        self.fingerprint = digest.hexdigest()[:16]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(part.size for part in self.parts)

    def lines(self) -> list[str]:
        """What is answered, and what is not, for people."""
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
        """The tables of photos, and what the others lack, which are counted."""
        found = [TablePart(name, self.folder, files[name]) for name in names]
        with ThreadPoolExecutor(1 if self.folder.local else 16) as pool:
            lacks = dict(zip(names, pool.map(TablePart.lacks, found), strict=True))
        for name in names:
            if lacks[name]:
                self.left_out.add(BARE_TABLES, name)
        return [t for t in found if not lacks[t.name]], list(filter(None, lacks.values()))

    def _tar(self, name: str, files: dict[str, int]) -> Archive:
        """A tar; beside it, as in GLDv2, may lie its checksum."""
        md5 = f"md5sum/{name.rpartition('/')[0] or '.'}/md5.{tar_stem(name)}.txt"
        return Archive(name, self.folder, files[name], md5_file=md5 if md5 in files else "")


def photos_of(part: Part, max_bytes: float) -> Iterator[Member]:
    """The photos of a part, in order; what else it holds is counted in its `left_out`.

    Raises:
        DamagedError: it is, from there on.
        UserError: the store fails.
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
    """The tar or table that holds a part's photos; "" where they are files."""
    return "" if isinstance(part, Archive) and part.files else text_id(part.name)


def _answered(files: dict[str, int], left_out: LeftOut) -> dict[str, int]:
    """The files that are meant: of a dataset those of its test set."""
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


def _folder_of(uri: str) -> tuple[Store, str]:
    """A folder, and the name of the one file in it that is meant, if one is."""
    folder = Store(uri)
    if folder.web or not folder.exists():
        raise UserError(f"--source: there is nothing at {uri}, or it can't be listed")
    if folder.fs.isfile(folder.path):
        parent, _, name = folder.uri.rpartition("/")
        return Store(parent or "/"), name
    return folder, ""

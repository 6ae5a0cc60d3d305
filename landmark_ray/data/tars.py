"""Tars as a stream of photos: nothing is unpacked to disk, and headers are not trusted.

Python's tarfile reads them. Used as it is, it would keep every header in memory, skip a member of
2^60 bytes block by block behind the end of the file, and take a damaged header for the end.
"""

import contextlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from landmark_ray.data.decompression import HashedStream
from landmark_ray.data.file_kinds import HIDDEN, image_stem, is_hidden, kind_by_name, text_id
from landmark_ray.data.listing import LeftOut

MAX_HEADER = 1 << 16
"""Largest size of a long name and of other extended headers, in bytes."""

_EXTENDED = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)


NO_FILES = "links and devices in tars"

Wanted = Callable[[str], bool]
"""Returns whether a file is to be read, from its name with folders."""


def accept_all(name: str) -> bool:
    """Return True for every file."""
    return True


@dataclass(frozen=True)
class Member:
    """A photo in an archive.

    Attributes:
        image_id: Name without folders and ending for a member of a tar, else the whole name.
        size: Bytes.
        data: Content; empty if it is too large to be read.
        name: Name with folders.
        problem: Why the photo cannot be read; empty if it can.
    """

    image_id: str
    size: int
    data: bytes
    name: str = ""
    problem: str = ""


@contextlib.contextmanager
def _no_end() -> Iterator[None]:
    """Make a damaged header an error, which tarfile would take for the end of the tar."""
    try:
        yield
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed lacks it
        raise
    except tarfile.HeaderError as error:
        raise tarfile.ReadError(str(error)) from None


class _Info(tarfile.TarInfo):
    """A header; extended headers must be short, and a damaged header is an error."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_Info":
        with _no_end():
            return super().frombuf(buf, encoding, errors)

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        """Process a header; tarfile provides this method for subclasses to override."""
        if self.type in _EXTENDED and self.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        with _no_end():
            return super()._proc_member(tar)  # type: ignore[misc]

    def _sparse(self, *_: Any) -> Any:
        raise tarfile.ReadError("sparse files are not read")

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _sparse


def tar_members(
    stream: HashedStream, max_bytes: float, wanted: Wanted, left_out: LeftOut
) -> Iterator[Member]:
    """Yield the files in a tar that may be photos, in order, without links, devices and folders.

    Links can be left out, since a link in a tar is a further name of a file.

    Args:
        stream: The decompressed tar.
        max_bytes: A larger file has no data.
        wanted: Files for which this returns False are skipped.
        left_out: Counts hidden files, links, devices, and files that are no photos by their names.

    Raises:
        DAMAGED: The rest of the tar is damaged.
    """
    with tarfile.open(  # type: ignore[call-overload]
        fileobj=stream, mode="r|", bufsize=1 << 20, tarinfo=_Info
    ) as tar:
        for info in tar:
            if not (info.isfile() or info.isdir()):
                left_out.add(NO_FILES, info.name)
            elif info.isfile():
                kind = HIDDEN if is_hidden(info.name) else kind_by_name(info.name)
                if kind:
                    left_out.add(kind, info.name)
                elif wanted(text_id(info.name)):
                    size = max(info.size, 0)
                    file = tar.extractfile(info) if 0 < size <= max_bytes else None
                    data = file.read() if file else b""
                    yield Member(text_id(image_stem(info.name)), size, data, text_id(info.name))
            tar.members = []  # else the headers of a million members stay in memory
            tar.pax_headers = {}


DAMAGED = (tarfile.TarError, EOFError, ValueError, RecursionError)
"""The errors that tarfile raises for malformed tars."""

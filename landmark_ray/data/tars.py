"""Tars as a stream of photos, whatever is in them: nothing is unpacked, and no header is believed.

Python's tarfile does the reading. It would keep every header in memory, skip a member of 2^60 bytes
block by block behind the end of the file, and take a damaged header for the end.
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
"""Bytes of a long name, or of other things said of a member."""

_SAID = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)


NO_FILES = "links and devices in tars"

Wanted = Callable[[str], bool]
"""Whether a file is to be read, by its name with folders."""


def accept_all(name: str) -> bool:
    """Every file is wanted."""
    return True


@dataclass(frozen=True)
class Member:
    """An image in an archive.

    Attributes:
        image_id: of a member of a tar its name without folders and ending, else the whole name.
        size: bytes.
        data: empty where it was too large to be read.
        name: with its folders, as it lies there.
        problem: why it can't be read, if so.
    """

    image_id: str
    size: int
    data: bytes
    name: str = ""
    problem: str = ""


@contextlib.contextmanager
def _no_end() -> Iterator[None]:
    """A damaged header is an error: tarfile takes it for the end."""
    try:
        yield
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed lacks it
        raise
    except tarfile.HeaderError as error:
        raise tarfile.ReadError(str(error)) from None


class _Info(tarfile.TarInfo):
    """A header that is no photo's is short, and a damaged one is an error."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_Info":
        with _no_end():
            return super().frombuf(buf, encoding, errors)

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        """Of tarfile, for subclasses to override."""
        if self.type in _SAID and self.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        with _no_end():
            return super()._proc_member(tar)  # type: ignore[misc]

    def _sparse(self, *_: Any) -> Any:
        raise tarfile.ReadError("sparse files are not read")

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _sparse


def tar_members(
    stream: HashedStream,
    max_bytes: float,
    wanted: Wanted = accept_all,
    left_out: LeftOut | None = None,
) -> Iterator[Member]:
    """The files in a tar that may be photos, in order; links, devices and folders are passed over.

    A link in a tar is another name of a file, which may be in it.

    Args:
        stream: the tar, unpacked.
        max_bytes: of a member that is read.
        wanted: of the others no bytes are kept.
        left_out: counts what is hidden, a link or a device, or no photo by its name.

    Raises:
        DAMAGED: the tar is, from there on.
    """
    left_out = LeftOut() if left_out is None else left_out
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
            tar.members = []  # or a tar of a million members stays in memory
            tar.pax_headers = {}


DAMAGED = (tarfile.TarError, EOFError, ValueError, RecursionError)
"""What tarfile raises at malformed tars."""

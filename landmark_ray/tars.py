"""Tars as a stream of photos, whatever is in them: nothing is unpacked, and no header is believed.

Python's tarfile does the reading. It would keep every header in memory, skip a member of 2^60 bytes
block by block behind the end of the file, and take a damaged header for the end.
"""

import contextlib
import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

MAX_HEADER = 1 << 16
"""Bytes of a long name, or of other things said of a member."""

_SAID = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)


@dataclass(frozen=True)
class Member:
    """An image in an archive. `data` is empty where it was too large to be read."""

    image_id: str
    size: int
    data: bytes


class Hashed:
    """A stream that remembers the md5 of all that was read from it.

    Who goes on reading behind its end has an error.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        """Read nothing yet."""
        self.raw, self.left = raw, 2
        self.md5 = hashlib.md5(usedforsecurity=False)

    def read(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            EOFError: the end was read twice already.
        """
        data = self.raw.read(size)
        self.md5.update(data)
        if not data:
            self.left -= 1
            if self.left < 0:
                raise EOFError("unexpected end of data")
        return data

    def drain(self) -> None:
        """Read the rest, for the md5."""
        while self.left > 0 and self.read(1 << 20):
            pass


@contextlib.contextmanager
def _no_end() -> Iterator[None]:
    """A damaged header is an error: tarfile takes it for the end."""
    try:
        yield
    except tarfile.EOFHeaderError:
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


def tar_members(stream: Hashed, max_bytes: float) -> Iterator[Member]:
    """The files in a tar, in order; links, devices and folders are passed over.

    Raises:
        DAMAGED: the tar is, from there on.
    """
    with tarfile.open(  # type: ignore[call-overload]
        fileobj=stream, mode="r|", bufsize=1 << 20, tarinfo=_Info
    ) as tar:
        for info in tar:
            if info.isfile():
                name = info.name.encode(errors="surrogateescape").decode(errors="replace")
                image_id = name.rpartition("/")[2].partition(".")[0]
                size = max(info.size, 0)
                file = tar.extractfile(info) if 0 < size <= max_bytes else None
                yield Member(image_id, size, file.read() if file else b"")
            tar.members = []  # or a tar of a million members stays in memory
            tar.pax_headers = {}


DAMAGED = (tarfile.TarError, EOFError, ValueError, RecursionError)
"""What tarfile raises at malformed tars."""

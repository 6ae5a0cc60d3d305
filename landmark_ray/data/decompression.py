"""Decompression of gzip, bzip2 and xz as a stream, in bounded memory, and safe from bombs."""

import bz2
import hashlib
import lzma
import tarfile
import zlib
from collections.abc import Callable
from typing import IO, Any

RATIO, SLACK = 100, 1 << 30
"""A stream that decompresses to more than RATIO times its bytes, plus SLACK bytes, is a
decompression bomb, since photos hardly shrink."""

XZ_MEMORY = 1 << 28
CHUNK = 1 << 16


class HashedStream:
    """A stream that computes the md5 of all that is read from it.

    Reading repeatedly behind its end raises EOFError.
    """

    def __init__(self, raw: IO[bytes] | Any) -> None:
        """Wrap a stream; nothing is read yet."""
        self.raw, self.left = raw, 2
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.count = 0
        self.ahead = b""

    def peek(self, size: int) -> bytes:
        """Return the first bytes; `read` returns them again."""
        self.ahead = self.read(size)
        return self.ahead

    def read(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            EOFError: The end was read twice already.
        """
        if self.ahead:
            data, self.ahead = self.ahead[:size], self.ahead[size:]
            return data
        data = self.raw.read(size)
        self.md5.update(data)
        self.count += len(data)
        if not data:
            self.left -= 1
            if self.left < 0:
                raise EOFError("unexpected end of data")
        return data

    def drain(self) -> None:
        """Read the rest, so that the md5 is complete."""
        self.ahead = b""
        while self.left > 0 and self.read(1 << 20):
            pass


class _Gzip:
    """A decompressor of zlib with the methods of those of bz2 and lzma."""

    def __init__(self) -> None:
        self._object = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._object.decompress(self._object.unconsumed_tail + data, max_length)

    @property
    def needs_input(self) -> bool:
        return not self._object.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data


DECOMPRESSORS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": _Gzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY),
}

MAGIC = max(map(len, DECOMPRESSORS))


class Decompressed:
    """The decompressed bytes of a compressed stream.

    Raises:
        tarfile.ReadError: When read: the stream is damaged, cut or a bomb. All bytes before that
            are returned first.
    """

    def __init__(self, stream: HashedStream, new: Callable[[], Any]) -> None:
        """Use decompressors of `new`; nothing is read yet."""
        self.stream, self.new, self.object = stream, new, new()
        self.waiting = b""
        self.count = 0
        self.damage: tarfile.ReadError | None = None

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer only at the end."""
        parts: list[bytes] = []
        while size > 0:
            try:
                part = self._some(size)
            except tarfile.ReadError as error:
                self.damage = error
                if not parts:
                    raise
                break
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _some(self, size: int) -> bytes:
        if self.damage:
            raise self.damage
        while True:
            if self.object.eof:
                rest: bytes = self.object.unused_data.lstrip(b"\0")  # padding
                if len(rest) < MAGIC:
                    rest += self.stream.read(CHUNK)
                if not rest.startswith(tuple(DECOMPRESSORS)):
                    return b""  # else another compressed part follows
                self.object, self.waiting = self.new(), rest
            data, self.waiting = self.waiting, b""
            if not data and self.object.needs_input:
                data = self.stream.read(CHUNK)
                if not data:
                    raise tarfile.ReadError("unexpected end of compressed data")
            try:
                out = self.object.decompress(data, size)
            except (OSError, zlib.error, lzma.LZMAError) as error:
                raise tarfile.ReadError(f"bad compressed data: {error}") from None
            self.count += len(out)
            if self.count > RATIO * self.stream.count + SLACK:
                raise tarfile.ReadError(f"it decompresses to more than {RATIO} times its size")
            if out:
                return out


def decompress(stream: HashedStream) -> HashedStream:
    """Return the stream, decompressed if its first bytes are those of a compressed file."""
    head = stream.peek(MAGIC)
    new = next((new for magic, new in DECOMPRESSORS.items() if head.startswith(magic)), None)
    return HashedStream(Decompressed(stream, new)) if new else stream

"""Bodies that came packed (`Content-Encoding`), unpacked piece by piece."""

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from starlette.types import Message, Receive, Scope

from landmark_ray.serving.api_errors import APIError, too_large

TAKEN = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
"""What a header says -> which packing it is."""

PIECE = 1 << 20
"""Bytes that are unpacked at once, at most."""

MEMBERS = 1000
"""Of a gzip file, at most: each can be 20 bytes that hold none."""


def encoding(headers: list[tuple[bytes, bytes]]) -> str:
    """How a request's body is packed; empty where it isn't.

    Raises:
        Refused: in a way that isn't taken.
    """
    values = (value for name, value in headers if name == b"content-encoding")
    said = b",".join(values).decode("latin-1")
    words = [word.strip().lower() for word in said.split(",")]
    packed = [word for word in words if word not in ("", "identity")]
    if not packed:
        return ""
    if len(packed) > 1 or packed[0] not in TAKEN:
        raise APIError(
            415,
            f"Content-Encoding can be gzip or deflate, or left out; got {said[:80]!r}.",
            "content encoding",
            {"Accept-Encoding": "gzip, deflate"},
        )
    return TAKEN[packed[0]]


class Unpacker:
    """A packed body's bytes as they were, in pieces of `PIECE` at most."""

    def __init__(self, kind: str) -> None:
        """kind: that `encoding` found."""
        self._kind = kind
        self._members = 0
        self._stream: Any = None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What the next bytes of the body hold.

        Raises:
            Refused: they are damaged.
        """
        more = bool(data)
        while more:
            if self._stream is None or self._stream.eof:
                self._stream = self._begun(data)
            try:
                piece = self._stream.decompress(data, PIECE)
            except zlib.error:
                raise self._refused("is damaged") from None
            yield piece
            data = self._stream.unconsumed_tail or self._stream.unused_data
            more = bool(data) or (len(piece) == PIECE and not self._stream.eof)

    def close(self) -> None:
        """The body is over.

        Raises:
            Refused: it isn't whole.
        """
        if self._stream is None or not self._stream.eof:
            raise self._refused("ends too early")

    def _begun(self, data: bytes) -> Any:
        """A member of a gzip file, or all of what deflate made, with zlib's header or without."""
        self._members += 1
        if self._members > (MEMBERS if self._kind == "gzip" else 1):
            raise self._refused("has too many parts")
        if self._kind == "gzip":
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        return zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS)

    def _refused(self, how: str) -> APIError:
        return APIError(
            400,
            f"The request's body {how}, read as its Content-Encoding says: {self._kind}.",
            "content encoding",
        )


def unpacked(scope: Scope, receive: Receive, megabytes: float) -> Receive:
    """A request's messages with its body unpacked, as it was given to its packer.

    Args:
        scope: of the request.
        receive: its messages.
        megabytes: of the body unpacked, at most.

    Raises:
        Refused: when they are asked for: the body is packed in a way that isn't taken, or it is
            damaged, or too large.
    """
    if all(name != b"content-encoding" for name, _ in scope["headers"]):
        return receive
    return _messages(scope, receive, megabytes).__anext__


async def _messages(scope: Scope, receive: Receive, megabytes: float) -> AsyncIterator[Message]:
    if kind := encoding(scope["headers"]):
        unpacker, size, more = Unpacker(kind), 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":  # the client hung up
                yield message
                break
            for piece in unpacker.pieces(message.get("body", b"")):
                size += len(piece)
                if size > megabytes * 1e6:
                    raise too_large(megabytes)
                yield {"type": "http.request", "body": piece, "more_body": True}
            more = message.get("more_body", False)
        else:
            unpacker.close()
            yield {"type": "http.request", "body": b"", "more_body": False}
    while True:
        yield await receive()

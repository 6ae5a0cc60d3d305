"""Decompression of request bodies (`Content-Encoding`), chunk by chunk."""

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from starlette.types import Message, Receive, Scope

from landmark_ray.serving.api_errors import APIError, body_too_large

ENCODINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
"""Accepted name of the header -> the compression it stands for."""

CHUNK_BYTES = 1 << 20
"""Size of a decompressed chunk, at most."""

MAX_GZIP_MEMBERS = 1000
"""A gzip file may have this many members; each may be 20 bytes that hold nothing."""


def read_encoding(headers: list[tuple[bytes, bytes]]) -> str:
    """Return how a request's body is compressed: gzip, deflate, or an empty string.

    Raises:
        APIError: The compression isn't supported.
    """
    values = (value for name, value in headers if name == b"content-encoding")
    header = b",".join(values).decode("latin-1")
    words = [word.strip().lower() for word in header.split(",")]
    encodings = [word for word in words if word not in ("", "identity")]
    if not encodings:
        return ""
    if len(encodings) > 1 or encodings[0] not in ENCODINGS:
        raise APIError(
            415,
            f"Content-Encoding can be gzip or deflate, or left out; got {header[:80]!r}.",
            "content encoding",
            {"Accept-Encoding": "gzip, deflate"},
        )
    return ENCODINGS[encodings[0]]


class Decompressor:
    """Decompresses a body, in chunks of `CHUNK_BYTES` at most."""

    def __init__(self, encoding: str) -> None:
        """Take what `read_encoding` returned."""
        self._encoding = encoding
        self._members = 0
        self._stream: Any = None

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """Decompress the next bytes of the body.

        Raises:
            APIError: They are damaged.
        """
        more = bool(data)
        while more:
            if self._stream is None or self._stream.eof:
                self._stream = self._next_member(data)
            try:
                chunk = self._stream.decompress(data, CHUNK_BYTES)
            except zlib.error:
                raise self._error("is damaged") from None
            yield chunk
            data = self._stream.unconsumed_tail or self._stream.unused_data
            more = bool(data) or (len(chunk) == CHUNK_BYTES and not self._stream.eof)

    def close(self) -> None:
        """Check that the body is complete.

        Raises:
            APIError: It isn't.
        """
        if self._stream is None or not self._stream.eof:
            raise self._error("ends too early")

    def _next_member(self, data: bytes) -> Any:
        """Start a member of a gzip file, or a deflate body, with zlib's header or without."""
        self._members += 1
        if self._members > (MAX_GZIP_MEMBERS if self._encoding == "gzip" else 1):
            raise self._error("has too many parts")
        if self._encoding == "gzip":
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        return zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS)

    def _error(self, problem: str) -> APIError:
        return APIError(
            400,
            f"The request's body {problem}, read as its Content-Encoding says: {self._encoding}.",
            "content encoding",
        )


def decompress_body(scope: Scope, receive: Receive, megabytes: float) -> Receive:
    """Return an ASGI `receive` that decompresses the request's body.

    Args:
        scope: The request's ASGI scope.
        receive: The request's messages.
        megabytes: Size of the decompressed body, at most.

    Raises:
        APIError: Raised by the returned callable: the compression isn't supported, or the body is
            damaged or too large.
    """
    if all(name != b"content-encoding" for name, _ in scope["headers"]):
        return receive
    return _messages(scope, receive, megabytes).__anext__


async def _messages(scope: Scope, receive: Receive, megabytes: float) -> AsyncIterator[Message]:
    if encoding := read_encoding(scope["headers"]):
        decompressor, size, more = Decompressor(encoding), 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":  # the client disconnected
                yield message
                break
            for chunk in decompressor.chunks(message.get("body", b"")):
                size += len(chunk)
                if size > megabytes * 1e6:
                    raise body_too_large(megabytes)
                yield {"type": "http.request", "body": chunk, "more_body": True}
            more = message.get("more_body", False)
        else:
            decompressor.close()
            yield {"type": "http.request", "body": b"", "more_body": False}
    while True:
        yield await receive()

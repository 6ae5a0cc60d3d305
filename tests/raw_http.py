"""HTTP as bytes: requests that no client library would send, and the answer to them."""

import asyncio
from dataclasses import dataclass

PREDICT = b"/predict"
INFER = b"/v2/models/landmark/infer"
FORM = b"multipart/form-data; boundary=b"
DISPOSITION = b'form-data; name="p"; filename="%s"'
CHUNKED = b"Transfer-Encoding: chunked"
JPEG = b"Content-Type: image/jpeg"


@dataclass(frozen=True)
class Attack:
    """A request.

    Attributes:
        name: what it is, for people.
        sent: its bytes.
        raw: whether the HTTP server may refuse it before the service sees it: in other words.
    """

    name: str
    sent: bytes
    raw: bool = False


@dataclass(frozen=True)
class Answer:
    """What came back; a status of 0: nothing."""

    status: int
    headers: dict[str, str]
    body: bytes


async def ask(port: int, sent: bytes, seconds: float = 60) -> Answer:
    """Send bytes to a service of this machine and read one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        async with asyncio.timeout(seconds):
            writer.write(sent)
            return await answer(reader, sent.startswith(b"HEAD"))
    except (ConnectionError, asyncio.IncompleteReadError):
        return Answer(0, {}, b"")
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader, head: bool = False) -> Answer:
    """The first one that isn't "go on"."""
    status = 100
    while status == 100:
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text.rstrip().split("\r\n")
        status = int(first.split()[1])
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if head:
        return Answer(status, headers, b"")
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read(1 << 20)
    return Answer(status, headers, body)


def request(target: bytes, *lines: bytes, body: bytes | None = None, method: bytes = b"") -> bytes:
    """A POST where there is a body; else a GET."""
    if body is not None:
        lines = (*lines, b"Content-Length: %d" % len(body))
    first = b"%s %s HTTP/1.1" % (method or (b"GET" if body is None else b"POST"), target)
    return b"\r\n".join((first, b"Host: 127.0.0.1", *lines, b"", body or b""))


def photo(data: bytes, kind: bytes = JPEG) -> bytes:
    """The request of one photo."""
    return request(PREDICT, kind, body=data)


def form(*parts: bytes, kind: bytes = FORM, end: bytes = b"--b--\r\n") -> bytes:
    """A form of parts, each of which begins with its headers."""
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end
    return request(PREDICT, b"Content-Type: " + kind, body=body)


def part(data: bytes, disposition: bytes = DISPOSITION % b"a.jpg", *lines: bytes) -> bytes:
    """Of a form."""
    return b"\r\n".join((b"Content-Disposition: " + disposition, *lines, b"", data))

"""Requests that offer another protocol, over a socket to the server that Serve's proxy runs."""

import asyncio
import contextlib
import json
import shutil
import subprocess

import numpy as np
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse

from landmark_ray.serving.h2c_upgrade import IgnoreUpgradeProtocol
from tests.raw_http import CHUNKED, answer, request

OFFERS = {
    "h2c": (
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    ),
    "h2c, then close": (b"Upgrade: h2c", b"Connection: close, upgrade, http2-settings"),
    "h2c in two lines": (b"CONNECTION: upgrade", b"Connection: HTTP2-Settings", b"UPGRADE: H2C"),
    "websocket": (
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ),
    "TLS": (b"Connection: keep-alive, Upgrade", b"Upgrade: TLS/1.2, HTTP/1.1"),
    "none": (),
}
BODY = np.random.default_rng(3).bytes(70_000)


async def app(scope, receive, send):
    """What it has heard."""
    body = await Request(scope, receive).body()
    names = sorted({name.decode() for name, _ in scope["headers"]})
    value = {"path": scope["path"], "bytes": len(body), "same": body == BODY, "headers": names}
    await JSONResponse({**value, "method": scope["method"]})(scope, receive, send)


def over_a_socket(talk):
    """What `talk(port)` comes to while the server runs."""

    async def run():
        config = uvicorn.Config(
            app, http=IgnoreUpgradeProtocol, port=0, log_config=None, lifespan="off"
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            async with asyncio.timeout(20):
                return await talk(server.servers[0].sockets[0].getsockname()[1])
        finally:
            server.should_exit = True
            await running

    return asyncio.run(run())


async def said(port, parts):
    """The answers, one for each part that is sent; "go on" is waited for after each but the last.

    parts: bytes, sent one after the other.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.05)
        found = await answer(reader)
    return found.status, json.loads(found.body)


def chunked(size):
    pieces = [BODY[i : i + size] for i in range(0, len(BODY), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def parted(data, places):
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("how", ["length", "chunks", "go on", "letter by letter"])
def test_a_body_arrives_whatever_else_is_offered(offer, how):
    lines = (*OFFERS[offer], b"X-Mark: a", b"Content-Type: image/jpeg")
    head_only = request(b"/p?x=1", *lines, b"Content-Length: 70000", method=b"POST")
    parts = {
        "length": [request(b"/p?x=1", *lines, body=BODY)],
        "chunks": [request(b"/p?x=1", *lines, CHUNKED, method=b"POST") + chunked(999)],
        "go on": [head_only[:-2] + b"Expect: 100-continue\r\n\r\n", BODY],
        "letter by letter": parted(head_only + BODY, [5, 40, len(head_only) - 1, 300, 60_000]),
    }[how]
    status, heard = over_a_socket(lambda port: said(port, parts))
    assert status == 200
    assert (heard["method"], heard["path"], heard["bytes"]) == ("POST", "/p", len(BODY))
    assert heard["same"]
    assert {"x-mark", "content-type"} <= set(heard["headers"])
    assert not {"upgrade", "http2-settings"} & set(heard["headers"])


def test_requests_on_one_connection_are_each_answered():
    async def talk(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        h2c, ws = OFFERS["h2c"], OFFERS["websocket"]
        writer.write(
            request(b"/0", *h2c, body=BODY)
            + request(b"/1", body=BODY)
            + request(b"/2", *ws)
            + b"".join(request(b"/%d" % i, *h2c) for i in range(3, 1500))  # deeper than Python's
        )
        found = []
        for _ in range(1500):
            found.append(json.loads((await answer(reader)).body))
        writer.close()
        return found

    found = over_a_socket(talk)
    assert [heard["path"] for heard in found] == [f"/{i}" for i in range(1500)]
    assert [heard["bytes"] for heard in found[:4]] == [len(BODY), len(BODY), 0, 0]


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h\0c\r\n\r\n",
    ],
)
def test_an_offer_makes_no_wrong_request_right(sent):
    async def talk(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        found = await answer(reader)
        writer.close()
        return found

    assert over_a_socket(talk).status == 400


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl_that_offers_http2_is_answered(tmp_path):
    (tmp_path / "photo").write_bytes(BODY)
    words = ["curl", "-s", "--http2", "-H", "Content-Type: image/jpeg", "--max-time", "15"]
    words += ["--data-binary", f"@{tmp_path / 'photo'}"]

    async def talk(port):
        process = await asyncio.create_subprocess_exec(
            *words, f"http://127.0.0.1:{port}/predict", stdout=subprocess.PIPE
        )
        return (await process.communicate())[0]

    heard = json.loads(over_a_socket(talk))
    assert heard["same"] and heard["path"] == "/predict"

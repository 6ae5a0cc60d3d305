"""Bodies that came packed: what they held, within bounds, or a sentence."""

import asyncio
import gzip
import tracemalloc
import zlib

import numpy as np
import pytest

from landmark_ray.serving import content_encoding
from landmark_ray.serving.api_errors import APIError

BODY = np.random.default_rng(5).bytes(300_000) + bytes(3_000_000) + b"the end"


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": gzip.compress(BODY),
    "X-GZIP ": gzip.compress(BODY[:9]) + gzip.compress(b"") + gzip.compress(BODY[9:]),
    "identity, GZip": gzip.compress(BODY, 1),
    "deflate": zlib.compress(BODY),
    "Deflate": raw_deflate(BODY),
    "identity": BODY,
    "": BODY,
}


def heard(encoding, data, size=50_000, megabytes=20.0, gone_at=None):
    """The body that the ingress hears of one that came in parts of `size` bytes."""
    parts = [data[i : i + size] for i in range(0, len(data), size)] or [b""]
    sent = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    sent[-1]["more_body"] = False
    sent = [*sent[:gone_at], {"type": "http.disconnect"}]

    async def receive():
        return sent.pop(0)

    async def run():
        scope = {"headers": [(b"content-encoding", encoding.encode())]}
        messages = content_encoding.decompress_body(scope, receive, megabytes)
        found, largest = b"", 0
        while True:
            message = await messages()
            if message["type"] == "http.disconnect":
                return found, largest, None
            largest = max(largest, len(message["body"]))
            found += message["body"] if len(found) < 4_000_000 else b""
            if not message["more_body"]:
                return found, largest, await messages()

    return asyncio.run(run())


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("size", [997, 1 << 20])
def test_a_body_is_what_was_packed(encoding, size):
    found, largest, then = heard(encoding, PACKED[encoding], size)
    assert found == BODY
    assert largest <= 1 << 20
    assert then == {"type": "http.disconnect"}


def test_letters_may_come_one_by_one():
    body = BODY[:2000] + bytes(100_000)
    for encoding, data in (("gzip", gzip.compress(body)), ("deflate", raw_deflate(body))):
        assert heard(encoding, data, size=1)[0] == body


def refused(*args, **more):
    with pytest.raises(APIError) as found:
        heard(*args, **more)
    return found.value


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "deflate,br", "\xff", "x" * 999])
def test_other_packings_are_named_with_what_is_taken(encoding):
    found = refused(encoding, b"x")
    assert found.status == 415
    assert found.message.startswith("Content-Encoding can be gzip or deflate, or left out; got ")
    assert found.headers == {"Accept-Encoding": "gzip, deflate"}


@pytest.mark.parametrize(
    ("encoding", "data", "says"),
    [
        ("gzip", PACKED["gzip"][:-1], "ends too early"),
        ("gzip", PACKED["gzip"][:5], "ends too early"),
        ("gzip", b"", "ends too early"),
        ("deflate", PACKED["deflate"][:-9], "ends too early"),
        ("gzip", BODY[:5000], "is damaged"),
        ("deflate", b"\xff" + BODY[:5000], "is damaged"),
        ("gzip", PACKED["deflate"], "is damaged"),
        ("gzip", PACKED["gzip"][:-8] + bytes(8), "is damaged"),
        ("gzip", PACKED["gzip"] + b"more", "is damaged"),
        ("deflate", PACKED["deflate"] * 2, "too many parts"),
        ("gzip", gzip.compress(b"") * 1001, "too many parts"),
    ],
)
def test_what_is_damaged_or_cut_is_400(encoding, data, says):
    found = refused(encoding, data)
    assert found.status == 400 and says in found.message and found.message.endswith(".")


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_bomb_is_refused_before_it_is_in_memory(pack):
    bomb = pack(bytes(90_000_000), 9)
    kind = "gzip" if pack is gzip.compress else "deflate"
    tracemalloc.start()
    found = refused(kind, bomb, size=len(bomb), megabytes=20)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.status == 413 and "larger than 20 MB" in found.message
    assert most < 30e6


def test_a_client_that_hangs_up_is_noticed():
    assert heard("gzip", PACKED["gzip"], gone_at=2)[2] is None

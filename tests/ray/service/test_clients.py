"""The real service, asked as clients ask that offer HTTP/2, pack their bodies or write Base64."""

import asyncio
import base64
import gzip
import json
import shutil
import subprocess

import numpy as np
import pytest
import tritonclient.http as triton

from tests import hostile
from tests.raw_http import CHUNKED, FORM, INFER, JPEG, PREDICT, ask, form, part, request

pytestmark = pytest.mark.ray

GOOD = hostile.saved("jpeg")
OFFER = (
    b"Connection: Upgrade, HTTP2-Settings",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
)
WEBSOCKET = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def answer(service, sent):
    return asyncio.run(ask(int(service.rpartition(":")[2]), sent, seconds=30))


def landmarks(found):
    assert found.status == 200, found.body
    return [one["landmarks"] for one in json.loads(found.body)["photos"]]


@pytest.mark.parametrize("offer", [OFFER, WEBSOCKET, (b"Connection: upgrade", b"Upgrade: foo/2")])
def test_a_photo_is_answered_whatever_is_offered(service, offer):
    (usual,) = landmarks(answer(service, request(PREDICT, JPEG, body=GOOD)))
    chunked = request(PREDICT, JPEG, CHUNKED, *offer, method=b"POST")
    chunked += b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)
    formed = form(part(GOOD), part(GOOD)).partition(b"\r\n\r\n")[2]
    for sent, count in (
        (request(PREDICT, JPEG, *offer, body=GOOD), 1),
        (request(PREDICT, JPEG, b"Expect: 100-continue", *offer, body=GOOD), 1),
        (chunked, 1),
        (request(PREDICT, b"Content-Type: " + FORM, *offer, body=formed), 2),
    ):
        assert landmarks(answer(service, sent)) == [usual] * count


@pytest.mark.parametrize("path", [b"/predict", b"/nothing", b"/version"])
def test_a_websocket_is_refused_at_once(service, path):
    found = answer(service, request(path, *WEBSOCKET))
    assert found.status == {b"/predict": 405, b"/nothing": 404, b"/version": 200}[path]
    assert json.loads(found.body)


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("how", [("--http2",), ("--http2", "-H", "Transfer-Encoding: chunked")])
def test_curl_that_offers_http2_is_answered(service, how, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(GOOD)
    place = f"@{tmp_path / 'photo.jpg'}"
    for more in (("--data-binary", place, "-H", "Content-Type: image/jpeg"), ("-F", f"p={place}")):
        words = ["curl", "-s", "-m", "30", *how, *more, f"{service}/predict"]
        done = subprocess.run(words, capture_output=True, timeout=60)
        assert json.loads(done.stdout)["photos"][0]["error"] is None, done.stdout


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_public_client_of_the_inference_protocol_may_pack(service, algorithm):
    client = triton.InferenceServerClient(service.removeprefix("http://"))
    data = triton.InferInput("photo", [1], "BYTES")
    data.set_data_from_numpy(np.array([GOOD], object))
    found = [
        client.infer("landmark", [data], request_compression_algorithm=packed)
        for packed in (None, algorithm)
    ]
    usual, packed = (one.as_numpy("landmark_id").tolist() for one in found)
    assert packed == usual
    with pytest.raises(triton.InferenceServerException, match="'priority' in parameters"):
        client.infer("landmark", [data], priority=3)


def test_wrapped_base64_and_packed_bodies_pass_the_proxy(service):
    text = base64.encodebytes(GOOD).decode()
    tensor = {"name": "photo", "shape": [2], "datatype": "BYTES", "data": [text, {"b64": text}]}
    body = json.dumps({"inputs": [tensor]}).encode()
    packed = gzip.compress(body)
    found = answer(service, request(INFER, *OFFER, b"Content-Encoding: gzip", body=packed))
    assert found.status == 200, found.body
    bomb = gzip.compress(bytes(100_000_000))
    found = answer(service, request(PREDICT, JPEG, b"Content-Encoding: gzip", body=bomb))
    assert found.status == 413 and b"larger than 2 MB" in found.body

"""The client of the HTTP API, before services and proxies that answer in every way."""

import asyncio
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from landmark_ray.errors import UserError
from landmark_ray.serving.client import Client

PHOTO = {"landmarks": [{"landmark_id": 7, "confidence": 0.5}]}


def answers_of(*answers, photos=1):
    """What the client returns for photos where a service gives answers one after the other."""
    left, sizes = list(answers), []

    async def answer(request):
        body = await request.read()
        sizes.append(body.count(b"filename=") or 1)
        status, value, headers = left.pop(0)
        text = value if isinstance(value, str) else json.dumps(value)
        return web.Response(status=status, text=text, headers=headers)

    async def ask():
        app = web.Application()
        app.router.add_post("/predict", answer)
        async with TestServer(app) as server, Client(str(server.make_url("/"))) as client:
            return await client.predict([b"a photo"] * photos, 8)

    return asyncio.run(ask()), sizes


def good(photos=1):
    return 200, {"photos": [PHOTO] * photos}, {}


@pytest.mark.parametrize(
    "busy",
    [
        (503, "<h1>busy</h1>", {"Retry-After": "0"}),
        (503, "", {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        (429, {"error": "Try again."}, {"Retry-After": "0"}),
        (503, "", {"Retry-After": "-1"}),
    ],
    ids=["page", "date", "json", "negative"],
)
def test_a_busy_service_or_proxy_is_asked_again(busy):
    assert answers_of(busy, good()) == ([[(7, 0.5)]], [1, 1])


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((400, {"error": "Too many files: 8."}, {}), "answers 400: Too many files: 8."),
        ((502, "<h1>bad\ngateway</h1>", {}), "answers 502: <h1>bad gateway</h1>"),
        ((500, [1], {}), r"answers 500: \[1\]"),
        ((200, "hello", {}), "answers 200: hello"),
    ],
)
def test_a_request_that_fails_as_a_whole_is_an_error_in_one_line(answer, says):
    with pytest.raises(UserError, match=says):
        answers_of(answer, photos=2)


def test_photos_that_are_too_large_together_are_sent_one_by_one():
    large, bad = (413, {"error": "Too large."}, {}), (422, {"error": "Truncated."}, {})
    found, sizes = answers_of(large, good(), bad, photos=2)
    assert (found, sizes) == ([[(7, 0.5)], []], [2, 1, 1])

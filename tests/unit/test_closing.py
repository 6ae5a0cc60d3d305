"""The service's end as clients see it."""

import asyncio
import os
import signal
import sys
from unittest import mock

import httpx
import pytest
import uvicorn

from landmark_ray.serving import app as service
from landmark_ray.serving import draining
from landmark_ray.serving.draining import PATH, TOKEN_VARIABLE, DrainMiddleware
from landmark_ray.serving.proxy import middlewares
from landmark_ray.serving.serve_options import ServeOptions


async def asked(app, path="/predict", **headers):
    """Status, headers and body of an answer."""
    sent = []

    async def send(message):
        sent.append(message)

    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    await app({"type": "http", "method": "POST", "path": path, "headers": lines}, None, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


class Slow:
    """An app that answers when it is told to."""

    def __init__(self):
        self.go, self.begun = asyncio.Event(), 0

    async def __call__(self, scope, receive, send):
        self.begun += 1
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})


def test_what_is_in_work_is_answered_and_what_is_new_is_refused():
    async def run():
        slow = Slow()
        app = DrainMiddleware(slow, "secret")
        first, second = (asyncio.create_task(asked(app, f"/{i}")) for i in range(2))
        await asyncio.sleep(0)
        closed = asyncio.create_task(asked(app, PATH, authorization="Bearer secret"))
        await asyncio.sleep(0.01)
        assert slow.begun == 2 and not closed.done()
        status, headers, body = await asked(app)
        assert status == 503 and b"ending" in body
        assert headers[b"connection"] == b"close" and headers[b"retry-after"]
        assert not closed.done() and slow.begun == 2
        slow.go.set()
        assert [(await one)[0::2] for one in (first, second)] == [(200, b"/0"), (200, b"/1")]
        assert (await closed)[0] == 200
        assert (await asked(app))[0] == 503

    asyncio.run(asyncio.wait_for(run(), 10))


def test_a_failure_is_no_longer_in_work():
    async def run():
        async def broken(scope, receive, send):
            raise RuntimeError

        app = DrainMiddleware(broken, "secret")
        with pytest.raises(RuntimeError):
            await asked(app)
        assert (await asked(app, PATH, authorization="Bearer secret"))[0] == 200

    asyncio.run(asyncio.wait_for(run(), 10))


@pytest.mark.parametrize(
    "said", ["", "Bearer", "Bearer ", "Bearer wrong", "secret", "Bearer s\u00e9"]
)
def test_only_who_started_the_service_can_end_it(said):
    async def run():
        slow = Slow()
        slow.go.set()
        app = DrainMiddleware(slow, "secret")
        assert (await asked(app, PATH, authorization=said))[2] == PATH.encode()
        assert (await asked(app))[0] == 200

    asyncio.run(run())


def test_on_a_cluster_no_request_ends_the_proxy(monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert DrainMiddleware not in [one.cls for one in middlewares()]
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    assert middlewares()[0].cls is DrainMiddleware


def test_who_asks_waits_a_while_and_goes_on_where_nobody_is(monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    draining.enable()
    slow = Slow()

    async def run():
        app = DrainMiddleware(slow, os.environ[TOKEN_VARIABLE])
        config = uvicorn.Config(app, port=0, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]

        async def asks(seconds):
            return await asyncio.to_thread(draining.drain, "127.0.0.1", port, seconds)

        async with httpx.AsyncClient() as session:
            flight = asyncio.create_task(session.get(f"http://127.0.0.1:{port}/a"))
            while not slow.begun:
                await asyncio.sleep(0.01)
            assert not await asks(0.2)
            slow.go.set()
            assert (await flight).text == "/a"
        assert await asks(5)
        server.should_exit = True
        await running
        assert await asks(5)

    asyncio.run(asyncio.wait_for(run(), 20))


@pytest.mark.parametrize(
    ("moment", "drains"), [("start_ray", False), ("deploy", True), ("served", True)]
)
def test_sigterm_ends_the_service_in_order_at_any_moment(moment, drains, monkeypatch):
    happened = []

    def step(name):
        happened.append(name)
        if name == "start_ray":  # as Ray does
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
        if name == moment:
            signal.raise_signal(signal.SIGTERM)

    for name in ("build", "check_port", "start_ray", "deploy", "stop"):
        monkeypatch.setattr(service, name, lambda *_, name=name, **__: step(name))
    before = signal.getsignal(signal.SIGTERM)
    try:
        with (
            mock.patch.dict(os.environ),
            pytest.raises(SystemExit) as end,
            service.local_service(ServeOptions(bundle="a bundle")),
        ):
            step("served")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert end.value.code == 0
    assert moment in happened and (happened[-1] == "stop") == drains

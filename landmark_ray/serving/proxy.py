"""Middlewares of Serve's HTTP proxy, which see each request before the ingress does.

Serve finds `middlewares` by the environment variable `CALLBACK`, which every node of a cluster
needs.
"""

import asyncio
import os

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmark_ray.runtime.ray_private import PROXY_CALLBACK
from landmark_ray.serving import h2c_upgrade
from landmark_ray.serving.draining import TOKEN_VARIABLE, DrainMiddleware

CALLBACK = (PROXY_CALLBACK, f"{__name__}:middlewares")
"""Name and value of the environment variable."""

STEERING_HEADERS = {
    b"x-request-id",
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
    b"x-session-id",
    b"serve-multiplexed-model-id",
}
"""Headers by which a client could control Serve's proxy."""

BODY_KEY = "landmark_ray.body"
"""Key of an ASGI scope: the body that was sent along with the request."""

MAX_PREFETCH_BYTES = 1 << 20
"""Size of a body that is sent along with its request, at most."""

PREFETCH_TIMEOUT_S = 0.05
"""How long the proxy waits for such a body."""


class StripSteeringHeaders:
    """ASGI middleware that removes the headers by which a client could control the proxy.

    The proxy trusts them, as if another proxy had sent them. One sets the request's timeout, and
    one that isn't UTF-8 causes a status 500 before the ingress sees the request.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the proxy."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        headers = scope.get("headers", ())
        kept = [h for h in headers if h[0].replace(b"_", b"-") not in STEERING_HEADERS]
        await self.app({**scope, "headers": kept}, receive, send)


class PrefetchBody:
    """ASGI middleware that sends a small body along with its request.

    Otherwise the ingress asks the proxy for the body, which takes 2 ms. In the ingress,
    `restore_body` takes it out of the scope again.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the proxy."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        length = dict(scope.get("headers", ())).get(b"content-length", b"")
        if not length.isdigit() or not 0 < int(length) <= MAX_PREFETCH_BYTES:
            await self.app(scope, receive, send)
            return
        received: list[Message] = []
        try:
            async with asyncio.timeout(PREFETCH_TIMEOUT_S):
                while not received or received[-1].get("more_body"):
                    received.append(await receive())
        except TimeoutError:
            pass
        connected = received and all(m["type"] == "http.request" for m in received)
        if connected and not received[-1].get("more_body"):
            scope = {**scope, BODY_KEY: b"".join(m.get("body", b"") for m in received)}
            received = [{"type": "http.request", "body": b"", "more_body": False}]
        received.reverse()

        async def replay() -> Message:
            return received.pop() if received else await receive()

        await self.app(scope, replay, send)


def restore_body(scope: Scope, receive: Receive) -> Receive:
    """Return a `receive` that yields the body that `PrefetchBody` put into the scope, if any."""
    if BODY_KEY not in scope:
        return receive
    prefetched = [{"type": "http.request", "body": scope.pop(BODY_KEY), "more_body": False}]

    async def receive_restored() -> Message:
        if prefetched:
            return prefetched.pop()
        while (message := await receive())["type"] == "http.request":
            pass  # the empty message that replaced the body
        return message

    return receive_restored


def middlewares() -> list[Middleware]:
    """Return the middlewares; Serve calls this in the proxy's process before it listens."""
    h2c_upgrade.install()
    token = os.environ.get(TOKEN_VARIABLE)
    draining = [Middleware(DrainMiddleware, token=token)] if token else []
    return [*draining, Middleware(StripSteeringHeaders), Middleware(PrefetchBody)]

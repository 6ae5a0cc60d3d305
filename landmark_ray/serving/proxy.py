"""What Serve's HTTP proxy hears before it hands a request to the ingress.

Serve finds `middlewares` by the variable `CALLBACK`, which all nodes of a cluster need.
"""

import asyncio
import os

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmark_ray.runtime.ray_private import PROXY_CALLBACK
from landmark_ray.serving import h2c_upgrade
from landmark_ray.serving.draining import TOKEN, Closing

CALLBACK = (PROXY_CALLBACK, f"{__name__}:middlewares")
"""Name and value."""

STEERING = {
    b"x-request-id",
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
    b"x-session-id",
    b"serve-multiplexed-model-id",
}

BODY = "landmark_ray.body"
"""Of a scope: a body that came with it."""

SMALL = 1 << 20
"""Bytes of a body that is sent along with its request."""

PROMPT_S = 0.05
"""For so long is waited for it."""


class StripSteeringHeaders:
    """ASGI middleware: headers by which a client would steer the proxy, or break it, are gone.

    The proxy trusts them, as of another proxy: one sets a request's timeout, and one that isn't
    UTF-8 is a 500 before the ingress has seen the request.
    """

    def __init__(self, app: ASGIApp) -> None:
        """app: the proxy."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        headers = scope.get("headers", ())
        kept = [h for h in headers if h[0].replace(b"_", b"-") not in STEERING]
        await self.app({**scope, "headers": kept}, receive, send)


class PrefetchBody:
    """ASGI middleware: a small body that is there already travels with its request.

    Else the ingress asks the proxy for it, and the answer takes 2 ms. `told` takes it out again.
    """

    def __init__(self, app: ASGIApp) -> None:
        """app: the proxy."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        length = dict(scope.get("headers", ())).get(b"content-length", b"")
        if not length.isdigit() or not 0 < int(length) <= SMALL:
            await self.app(scope, receive, send)
            return
        heard: list[Message] = []
        try:
            async with asyncio.timeout(PROMPT_S):
                while not heard or heard[-1].get("more_body"):
                    heard.append(await receive())
        except TimeoutError:
            pass
        whole = heard and all(m["type"] == "http.request" for m in heard)
        if whole and not heard[-1].get("more_body"):
            scope = {**scope, BODY: b"".join(m.get("body", b"") for m in heard)}
            heard = [{"type": "http.request", "body": b"", "more_body": False}]
        heard.reverse()

        async def again() -> Message:
            return heard.pop() if heard else await receive()

        await self.app(scope, again, send)


def restore_body(scope: Scope, receive: Receive) -> Receive:
    """A request's messages, of a body that came with it, too."""
    if BODY not in scope:
        return receive
    left = [{"type": "http.request", "body": scope.pop(BODY), "more_body": False}]

    async def all_of_it() -> Message:
        if left:
            return left.pop()
        while (message := await receive())["type"] == "http.request":
            pass  # the empty one in the body's place
        return message

    return all_of_it


def middlewares() -> list[Middleware]:
    """For Serve, which asks before its HTTP server starts."""
    h2c_upgrade.ignore()
    token = os.environ.get(TOKEN)
    closing = [Middleware(Closing, token=token)] if token else []
    return [*closing, Middleware(StripSteeringHeaders), Middleware(PrefetchBody)]

"""What every request passes: the key, the body's limits; what every answer has: safe headers."""

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from landmark_ray.serving.api_errors import APIError, too_large
from landmark_ray.serving.content_encoding import unpacked
from landmark_ray.serving.page import FILES
from landmark_ray.serving.prometheus import Metrics
from landmark_ray.serving.proxy import CALLBACK, restore_body
from landmark_ray.serving.serve_options import GraphOptions

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = {*FILES, "/openapi.json", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"}
"""Paths that need no key: the page asks for it."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

LOST = (
    "The request's body was lost, since it offers another protocol (Upgrade): send it without, or "
    f"start Ray on every node with {'='.join(CALLBACK)}."
)

HEADERS_MOST = 64_000
"""Bytes of a request's headers: the server in front has no limit."""


class RequestGuardMiddleware:
    """ASGI middleware, outermost."""

    def __init__(self, app: App, options: GraphOptions, key: str, metrics: Metrics) -> None:
        """key: the clients'; empty where none is asked for."""
        self.app, self.options, self.metrics = app, options, metrics
        self.key = key.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        receive = restore_body(scope, receive)
        begun, status = time.monotonic(), 0

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                have = {name.lower() for name, _ in message["headers"]}
                safe = [(n.encode(), v.encode()) for n, v in HEADERS.items()]
                message["headers"] = [
                    *message["headers"],
                    *((name, value) for name, value in safe if name not in have),
                ]
            await send(message)

        try:
            self._check(scope)
            body = unpacked(scope, self._bounded(scope, receive), self.options.max_megabytes)
            await self.app(scope, body, send_safely)
        except APIError as refused:
            if status:  # of an answer that has begun the rest can't be said
                raise
            self.metrics.rejected(refused.reason)
            await refuse(refused, send_safely)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.request(route, status, time.monotonic() - begun)

    def _check(self, scope: Message) -> None:
        """The headers.

        Raises:
            Refused: they are too long, the key is missing or wrong, or the body too long.
        """
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADERS_MOST:
            raise APIError(431, "The request's headers are larger than 64 kB.", "headers")
        headers = dict(scope["headers"])
        if self.key and scope["path"] not in OPEN:
            kind, _, token = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self.key):
                raise APIError(
                    401,
                    "The key is missing or wrong: send it as Authorization: Bearer KEY.",
                    "key",
                    {"WWW-Authenticate": "Bearer"},
                )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.options.max_megabytes * 1e6:
            raise too_large(self.options.max_megabytes)

    def _bounded(self, scope: Message, receive: Receive) -> Receive:
        """The body, counted and timed; its time begins when it is first asked for."""
        size, end = 0, 0.0

        async def bounded() -> Message:
            nonlocal size, end
            end = end or time.monotonic() + self.options.upload_seconds
            done = size < 0
            try:
                async with asyncio.timeout(None if done else max(end - time.monotonic(), 0.01)):
                    message = await receive()
            except TimeoutError:
                raise APIError(
                    408,
                    f"The request took longer than {self.options.upload_seconds:g} s to arrive.",
                    "too slow",
                    {"Connection": "close"},
                ) from None
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                if size > self.options.max_megabytes * 1e6:
                    raise too_large(self.options.max_megabytes)
                if not message.get("more_body"):
                    if not size and offers_upgrade(scope):
                        raise APIError(400, LOST, "upgrade")
                    size = -1  # what comes now is only that the client hangs up
            return message

        return bounded


def offers_upgrade(scope: Message) -> bool:
    """Whether a request with a body offers another protocol: here none does, by `serving.upgrade`.

    Without it, the body is lost.
    """
    headers = dict(scope["headers"])
    has_body = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
    return has_body and b"upgrade" in headers


async def refuse(refused: APIError, send: Send) -> None:
    """Answer with a refusal."""
    body = json.dumps(refused.body).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    headers |= refused.headers
    await send(
        {
            "type": "http.response.start",
            "status": refused.status,
            "headers": [(n.lower().encode(), v.encode()) for n, v in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})

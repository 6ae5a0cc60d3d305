"""The outermost ASGI middleware: checks the key and limits of requests, adds security headers."""

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from landmark_ray.serving.api_errors import APIError, body_too_large
from landmark_ray.serving.content_encoding import decompress_body
from landmark_ray.serving.page import FILES
from landmark_ray.serving.prometheus import Metrics
from landmark_ray.serving.proxy import CALLBACK, restore_body
from landmark_ray.serving.serve_options import GraphOptions

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

PUBLIC_PATHS = {
    *FILES,
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/v2/health/live",
    "/v2/health/ready",
}
"""Paths that need no key; the page asks its user for the key."""

SECURITY_HEADERS = {
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
"""Headers that every response has."""

BODY_LOST = (
    "The request's body was lost, because the request offers another protocol (Upgrade): send it "
    f"without that header, or start Ray on every node with {'='.join(CALLBACK)}."
)

MAX_HEADER_BYTES = 64_000
"""Size of a request's headers, at most; uvicorn with httptools has no limit."""


class RequestGuardMiddleware:
    """ASGI middleware that rejects bad requests before the API sees them."""

    def __init__(self, app: App, options: GraphOptions, key: str, metrics: Metrics) -> None:
        """Wrap an app; the key is the clients' bearer token, empty where none is needed."""
        self.app, self.options, self.metrics = app, options, metrics
        self.key = key.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        receive = restore_body(scope, receive)
        start, status = time.monotonic(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                added = [(n.encode(), v.encode()) for n, v in SECURITY_HEADERS.items()]
                message["headers"] = [
                    *message["headers"],
                    *((name, value) for name, value in added if name not in present),
                ]
            await send(message)

        try:
            self._check_headers(scope)
            limited = self._limit_body(scope, receive)
            body = decompress_body(scope, limited, self.options.max_megabytes)
            await self.app(scope, body, send_with_headers)
        except APIError as error:
            if status:  # the response has begun, so its status can't change
                raise
            self.metrics.count_rejection(error.reason)
            await send_error(error, send_with_headers)
        except Exception:
            if not status:
                fault = APIError(500, "The service failed: its log says why.", "failed")
                self.metrics.count_rejection(fault.reason)
                await send_error(fault, send_with_headers)
            raise  # to the log
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.count_request(route, status, time.monotonic() - start)

    def _check_headers(self, scope: Message) -> None:
        """Check the size of the headers, the key, and the announced length of the body.

        Raises:
            APIError: The headers or the body are too long, or the key is missing or wrong.
        """
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            raise APIError(431, "The request's headers are larger than 64 kB.", "headers")
        headers = dict(scope["headers"])
        path = scope["path"].removeprefix(scope.get("root_path", ""))  # of route_prefix
        if self.key and path not in PUBLIC_PATHS:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self.key):
                raise APIError(
                    401,
                    "The key is missing or wrong: send it as Authorization: Bearer KEY.",
                    "key",
                    {"WWW-Authenticate": "Bearer"},
                )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.options.max_megabytes * 1e6:
            raise body_too_large(self.options.max_megabytes)

    def _limit_body(self, scope: Message, receive: Receive) -> Receive:
        """Return a `receive` that limits the body's size and the time from its first call on."""
        size, deadline = 0, 0.0

        async def receive_limited() -> Message:
            nonlocal size, deadline
            deadline = deadline or time.monotonic() + self.options.upload_seconds
            complete = size < 0
            timeout = None if complete else max(deadline - time.monotonic(), 0.01)
            try:
                async with asyncio.timeout(timeout):
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
                    raise body_too_large(self.options.max_megabytes)
                if not message.get("more_body"):
                    if not size and offers_upgrade(scope):
                        raise APIError(400, BODY_LOST, "upgrade")
                    size = -1  # after the body, only a disconnect can follow
            return message

        return receive_limited


def offers_upgrade(scope: Message) -> bool:
    """Tell whether a request with a body offers another protocol.

    No such request gets here where `serving.h2c_upgrade` is installed. Where it isn't, uvicorn
    loses the body.
    """
    headers = dict(scope["headers"])
    has_body = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
    return has_body and b"upgrade" in headers


async def send_error(error: APIError, send: Send) -> None:
    """Send an error as the response."""
    body = json.dumps(error.body).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    headers |= error.headers
    await send(
        {
            "type": "http.response.start",
            "status": error.status,
            "headers": [(n.lower().encode(), v.encode()) for n, v in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})

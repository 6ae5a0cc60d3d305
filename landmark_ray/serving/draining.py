"""Draining of the service before it ends: requests in flight finish, new ones are rejected.

When Serve shuts down, it ends its HTTP proxy first, and with it all requests in flight. So the
proxy is drained beforehand, by a request that only the process that started the service can make.
"""

import asyncio
import contextlib
import hmac
import http.client
import os
import secrets

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

TOKEN_VARIABLE = "LANDMARK_RAY_CLOSE"
"""The environment variable with the token of that request; without it, the proxy takes none."""

PATH = "/-/close"


class DrainMiddleware:
    """Outermost ASGI middleware: counts requests, and rejects new ones once it drains."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        """Wrap an app; the token is what a request to drain must have as its bearer token."""
        self.app, self._authorization = app, f"Bearer {token}".encode()
        self._draining = False
        self._in_flight = 0
        self._request_done = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self._is_drain_request(scope):
            self._draining = True
            while self._in_flight:
                self._request_done.clear()
                await self._request_done.wait()
            await JSONResponse({"status": "closed"})(scope, receive, send)
        elif self._draining:
            message = "The service is ending: try again in 5 s."
            headers = {"Retry-After": "5", "Connection": "close"}
            await JSONResponse({"error": message}, 503, headers)(scope, receive, send)
        else:
            self._in_flight += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self._in_flight -= 1
                self._request_done.set()

    def _is_drain_request(self, scope: Scope) -> bool:
        authorization = Headers(scope=scope).get("authorization", "").encode()
        return scope["path"] == PATH and hmac.compare_digest(authorization, self._authorization)


def enable() -> None:
    """Make a token before Ray starts, so that its proxy can be drained by this process."""
    os.environ[TOKEN_VARIABLE] = secrets.token_urlsafe()


def drain(host: str, port: int, timeout_s: float) -> bool:
    """Make a proxy reject new requests, and wait for those in flight.

    Args:
        host: Address at which the proxy listens.
        port: Port at which it listens.
        timeout_s: How long to wait, in seconds.

    Returns:
        Whether no request is in flight any more.
    """
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    with contextlib.closing(connection):
        try:
            headers = {"Authorization": f"Bearer {os.environ[TOKEN_VARIABLE]}"}
            connection.request("POST", PATH, headers=headers)
            connection.getresponse().read()
        except TimeoutError:
            return False
        except (OSError, http.client.HTTPException):
            pass  # the proxy is gone
        return True

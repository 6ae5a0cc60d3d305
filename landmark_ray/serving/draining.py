"""The service's end: what is in work is answered, what is new is refused.

Serve ends its HTTP proxy first, and all that is in work with it. So the proxy is asked beforehand
to close its door, by a request that only who started the service can make.
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

TOKEN = "LANDMARK_RAY_CLOSE"
"""The environment variable with what that request must know; without it, none is answered."""

PATH = "/-/close"


class Closing:
    """ASGI middleware, outermost: counts requests, and lets no more in when it is told to."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        """token: of who may close it."""
        self.app, self._wanted = app, f"Bearer {token}".encode()
        self._closed = False
        self._in_work = 0
        self._idle = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self._closes(scope):
            self._closed = True
            while self._in_work:
                self._idle.clear()
                await self._idle.wait()
            await JSONResponse({"status": "closed"})(scope, receive, send)
        elif self._closed:
            sentence = "The service is ending: try again in 5 s."
            headers = {"Retry-After": "5", "Connection": "close"}
            await JSONResponse({"error": sentence}, 503, headers)(scope, receive, send)
        else:
            self._in_work += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self._in_work -= 1
                self._idle.set()

    def _closes(self, scope: Scope) -> bool:
        said = Headers(scope=scope).get("authorization", "").encode()
        return scope["path"] == PATH and hmac.compare_digest(said, self._wanted)


def allow() -> None:
    """Before Ray starts: its proxy will close when this process asks for it."""
    os.environ[TOKEN] = secrets.token_urlsafe()


def closed(host: str, port: int, seconds: float) -> bool:
    """Close the proxy that listens there, and wait a while until what is in work is answered.

    Args:
        host: of the proxy.
        port: of the proxy.
        seconds: to wait, at most.

    Returns:
        Whether nothing is in work any more.
    """
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    with contextlib.closing(connection):
        try:
            headers = {"Authorization": f"Bearer {os.environ[TOKEN]}"}
            connection.request("POST", PATH, headers=headers)
            connection.getresponse().read()
        except TimeoutError:
            return False
        except (OSError, http.client.HTTPException):
            pass  # it is gone
        return True

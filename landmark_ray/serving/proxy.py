"""What Serve's HTTP proxy must not hear: headers by which a client would steer it, or break it.

The proxy trusts them, as of another proxy: one sets a request's timeout, and one that isn't UTF-8
is a 500 before the ingress has seen the request. Serve finds `middlewares` by the variable
`CALLBACK`, which all nodes of a cluster need.
"""

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

CALLBACK = ("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", f"{__name__}:middlewares")
"""Name and value."""

STEERING = {
    b"x-request-id",
    b"x-request-timeout-seconds",
    b"x-request-disconnect-disabled",
    b"x-session-id",
    b"serve-multiplexed-model-id",
}


class Deaf:
    """ASGI middleware: such headers are gone."""

    def __init__(self, app: ASGIApp) -> None:
        """app: the proxy."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        headers = scope.get("headers", ())
        kept = [h for h in headers if h[0].replace(b"_", b"-") not in STEERING]
        await self.app({**scope, "headers": kept}, receive, send)


def middlewares() -> list[Middleware]:
    """For Serve."""
    return [Middleware(Deaf)]

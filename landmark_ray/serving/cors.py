"""CORS: pages of other origins may use the service, where an option names them."""

import functools

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Send


class Cors(CORSMiddleware):
    """Starlette's middleware around all others, so that allowed pages can read errors, too."""

    def __init__(self, app: ASGIApp, allowed: list[str]) -> None:
        """Take the allowed origins, as `serve_options.parse_origins` returns them."""
        super().__init__(
            app,
            allow_origins=allowed,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("*",),
            allow_private_network=True,
            expose_headers=("Retry-After", "Inference-Header-Content-Length"),
        )

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        """Send as Starlette does, and let allowed origins embed the response."""
        await super().send(message, functools.partial(_send_shareable, send), request_headers)


async def _send_shareable(send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        if "access-control-allow-origin" in headers:
            headers["cross-origin-resource-policy"] = "cross-origin"
    await send(message)

"""Pages of other origins may ask the service, where an option names them (CORS)."""

import functools

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Send


class Cors(CORSMiddleware):
    """Starlette's, around the door: a page that may ask may read refusals, too."""

    def __init__(self, app: ASGIApp, allowed: list[str]) -> None:
        """allowed: origins as `serve_options.origins` writes them."""
        super().__init__(
            app,
            allow_origins=allowed,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("*",),
            allow_private_network=True,
            expose_headers=("Retry-After", "Inference-Header-Content-Length"),
        )

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        """As Starlette does; the door's answers are else for pages of the same origin."""
        await super().send(message, functools.partial(_shared, send), request_headers)


async def _shared(send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        if "access-control-allow-origin" in headers:
            headers["cross-origin-resource-policy"] = "cross-origin"
    await send(message)

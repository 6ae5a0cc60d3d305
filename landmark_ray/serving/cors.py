"""Pages of other origins may ask the service, where an option names them (CORS)."""

import functools
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Send

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@\s\\]+)/?", re.IGNORECASE)
_USUAL = {"http": ":80", "https": ":443"}


def origins(text: str) -> list[str]:
    """Those of a list with commas, as browsers send them.

    Raises:
        ValueError: one is none.
    """
    return [_origin(word.strip()) for word in text.split(",") if word.strip()]


def _origin(word: str) -> str:
    if word == "*":
        return word
    found = _ORIGIN.fullmatch(word)
    if not found:
        raise ValueError(
            f"{word!r} is no origin such as https://a.example or http://localhost:5173"
        )
    scheme, host = found[1].lower(), found[2].lower()
    return f"{scheme}://{host.removesuffix(_USUAL.get(scheme, ''))}"


class Cors(CORSMiddleware):
    """Starlette's, around the door: a page that may ask may read refusals, too."""

    def __init__(self, app: ASGIApp, allowed: list[str]) -> None:
        """allowed: `origins`."""
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

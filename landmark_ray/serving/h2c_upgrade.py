"""An HTTP/1.1 protocol for uvicorn that ignores offers of another protocol (`Upgrade: h2c`).

uvicorn with httptools loses the body of a request that makes such an offer (Kludex/uvicorn #2722),
because its parser takes what follows the headers for the other protocol. Java's HttpClient, Spring,
Ktor and `curl --http2` make the offer with every request in clear text. A server may ignore it
(RFC 9110, 7.8). This one does, for websockets too, since the API has none.
"""

import asyncio
from array import array
from typing import Any

import httptools
from uvicorn.config import HTTP_PROTOCOLS, Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

UPGRADE_HEADERS = {b"upgrade", b"http2-settings"}
"""The headers of an offer; `Connection` names them, too."""


class IgnoreUpgradeProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which parses the head of a request with an offer again, without it."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Handle one connection; the arguments are uvicorn's."""
        super().__init__(config, server_state, app_state, _loop)
        self.parser = IgnoreUpgradeParser(self)

    def _should_upgrade(self) -> bool:
        """Tell uvicorn not to handle the request yet: the parser will read its head again."""
        return bool(self.parser.get_method() != b"CONNECT")

    def head_without_upgrade(self) -> bytes:
        """Return the head of the request that was just parsed, without its offer."""
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                options = value.split(b",")
                value = b", ".join(o for o in options if o.strip().lower() not in UPGRADE_HEADERS)
            if name not in UPGRADE_HEADERS:
                lines.append(b"%s: %s" % (name, value))
        return b"\r\n".join([*lines, b"", b""])


class IgnoreUpgradeParser(httptools.HttpRequestParser):
    """httptools' parser; after each offer, a new parser takes over the connection."""

    def __init__(self, protocol: IgnoreUpgradeProtocol) -> None:
        """Take the protocol whose callbacks are called."""
        super().__init__(protocol)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it
        self._protocol = protocol

    def feed_data(self, data: "bytes | bytearray | memoryview | array[int]") -> None:
        """Parse the next bytes of the connection.

        Raises:
            HttpParserError: They aren't HTTP.
            HttpParserUpgrade: The request is a CONNECT, which uvicorn handles.
        """
        protocol, remaining, feed = self._protocol, memoryview(data), super().feed_data
        while True:
            try:
                return feed(remaining)
            except httptools.HttpParserUpgrade as offer:
                if not protocol._should_upgrade():
                    raise
                remaining, head = remaining[offer.args[0] :], protocol.head_without_upgrade()
                parser = IgnoreUpgradeParser(protocol)
                protocol.parser = parser
                feed = super(IgnoreUpgradeParser, parser).feed_data
                feed(head)


def install() -> None:
    """Make uvicorn use the protocol in this process: that of Serve's proxy, before it listens."""
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{IgnoreUpgradeProtocol.__name__}"

"""HTTP/1.1 as Serve's proxy reads it, deaf to the offer of another protocol (`Upgrade: h2c`).

uvicorn with httptools loses the body of a request that makes such an offer (Kludex/uvicorn #2722),
as Java's HttpClient, Spring, Ktor and `curl --http2` do with each in clear text: its parser takes
what follows the headers for the other protocol. A server may ignore an offer (RFC 9110, 7.8), and
here each one is, that of websockets too: there is none in the API.
"""

import httptools
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

OFFER = {b"upgrade", b"http2-settings"}
"""Headers of an offer; `Connection` names them, too."""


class Protocol(HttpToolsProtocol):
    """uvicorn's; a request's head that makes an offer is read once more without it."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        """As uvicorn makes it, for each connection."""
        super().__init__(*args, **kwargs)
        self.parser = Parser(self)

    def _should_upgrade(self) -> bool:
        """Whether the request isn't to be begun yet: `Parser` reads its head again."""
        return bool(self.parser.get_method() != b"CONNECT")

    def head(self) -> bytes:
        """That of the request just read, without its offer."""
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join(w for w in value.split(b",") if w.strip().lower() not in OFFER)
            if name not in OFFER:
                lines.append(b"%s: %s" % (name, value))
        return b"\r\n".join([*lines, b"", b""])


class Parser(httptools.HttpRequestParser):
    """httptools' parser; from each offer on, the connection has a new one."""

    def __init__(self, protocol: Protocol) -> None:
        """protocol: that hears what is read."""
        super().__init__(protocol)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        self._protocol = protocol

    def feed_data(self, data: bytes | memoryview) -> None:
        """Read on.

        Raises:
            HttpParserError: what came isn't HTTP.
            HttpParserUpgrade: CONNECT, which uvicorn knows how to leave.
        """
        protocol, left, read = self._protocol, memoryview(data), super().feed_data
        while True:
            try:
                return read(left)
            except httptools.HttpParserUpgrade as offer:
                if not protocol._should_upgrade():
                    raise
                left, head = left[offer.args[0] :], protocol.head()
                protocol.parser = Parser(protocol)
                read = super(Parser, protocol.parser).feed_data
                read(head)


def ignore() -> None:
    """In the process of Serve's proxy, before its server starts."""
    HTTP_PROTOCOLS["auto"] = f"{__name__}:Protocol"

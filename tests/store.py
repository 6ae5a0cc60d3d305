"""A bucket of an S3 API on loopback, which can be ill."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "landmarks"
ANSWERS = {"500 Internal Server Error": "InternalError", "503 Slow Down": "SlowDown"}
LATE_S = 0.3
OUTAGE_S = 5.0

Start = Callable[..., Any]


class Ill:
    """An S3 of whose answers, while it is ill, some are errors, some late and some half.

    From the 60th request on nothing works for `OUTAGE_S`.
    """

    def __init__(self) -> None:
        self.app = DomainDispatcherApplication(create_backend_app)
        self.ill = False
        self.seen: Counter[str] = Counter()
        self._number = itertools.count()
        self._well_at = 0.0

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        if not self.ill:
            return self.app(environ, start)
        number = next(self._number)
        if number == 60:
            self._well_at = time.monotonic() + OUTAGE_S
        out = time.monotonic() < self._well_at
        self.seen["outage"] += out
        if out or number % 43 == 5:
            return self._error(start, list(ANSWERS)[number % 2])
        if number % 47 == 7:
            self.seen["late"] += 1
            time.sleep(LATE_S)
        if number % 37 == 9 and environ["REQUEST_METHOD"] == "GET":
            return self._half(environ, start)
        return self.app(environ, start)

    def _error(self, start: Start, status: str) -> list[bytes]:
        self.seen[status] += 1
        start(status, [("Content-Type", "application/xml"), ("Connection", "close")])
        return [f"<Error><Code>{ANSWERS[status]}</Code><Message>ill</Message></Error>".encode()]

    def _half(self, environ: dict[str, Any], start: Start) -> Iterator[bytes]:
        """All headers, among them the length, and half of what they promise."""
        data = b"".join(self.app(environ, start))
        self.seen["half"] += 1
        yield data[: len(data) // 2]


def serve(store: Ill) -> tuple[Any, str]:
    """Start it; the server, to be shut down, and its address."""
    server = make_server("127.0.0.1", 0, store, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


def files(client: Any, prefix: str) -> Iterator[str]:
    """Keys of the bucket."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return (item["Key"] for page in pages for item in page.get("Contents", ()))


def client() -> Any:
    """Of the store that the environment names, with its bucket."""
    found = boto3.client("s3")
    found.create_bucket(Bucket=BUCKET)
    return found

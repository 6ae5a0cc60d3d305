import errno
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import tenacity.nap
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error

from landmark_ray.data.retry import TRIES, is_transient, with_retries
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError

DATA = bytes(range(256)) * 64


class Server(BaseHTTPRequestHandler):
    """Answers so many requests with an error before it does its work; some with half a file."""

    ill = 0
    short = 0
    asked = 0
    missing = 404

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        cls = type(self)
        cls.asked += 1
        if cls.ill:
            cls.ill -= 1
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if not self.path.endswith("file"):
            self.send_response(cls.missing)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, last = 0, len(DATA) - 1
        wanted = self.headers.get("Range")
        if wanted:
            first, last = (int(n) for n in wanted.removeprefix("bytes=").split("-"))
            last = min(last, len(DATA) - 1)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(DATA)}")
        self.end_headers()
        if self.command == "GET":
            part = DATA[first : last + 1]
            if cls.short:
                cls.short -= 1
                part = part[: len(part) // 2]
                self.close_connection = True
            self.wfile.write(part)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def web(monkeypatch) -> Iterator[tuple[type[Server], Store]]:
    """A web server that can be ill, and its folder; nobody waits."""
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=lambda _: None))
    handler = type("Handler", (Server,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, Store(f"http://127.0.0.1:{server.server_port}/x")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("trouble", ["ill", "short"])
def test_web_server_that_is_ill_for_a_moment_is_asked_again(web, trouble):
    handler, folder = web
    setattr(handler, trouble, 3)
    assert folder.read("file") == DATA
    setattr(handler, trouble, 3)
    with folder.open("file") as file:
        assert file.read(1000) + file.read(len(DATA)) == DATA
    handler.ill = 3
    assert folder.size("file") == len(DATA)
    handler.ill = 3
    assert folder.exists("file")


def test_server_that_stays_ill_has_no_missing_files(web):
    handler, folder = web
    for ask in (folder.size, folder.exists, folder.read):
        handler.ill = 10**6
        with pytest.raises(UserError, match=f"file: the store failed {TRIES} times in a row"):
            ask("file")


@pytest.mark.parametrize("status", [404, 403])  # as S3 says to who may not list
def test_what_is_not_there_is_asked_for_once(web, status):
    handler, folder = web
    handler.missing = status
    assert not folder.exists("nothing")
    handler.asked = 0
    with pytest.raises(FileNotFoundError):
        folder.read("nothing")
    assert handler.asked == 1
    with pytest.raises(FileNotFoundError):
        folder.size("nothing")


@pytest.mark.parametrize("code", ["InternalError", "SlowDown", "500", "503"])
def test_what_s3_calls_its_own_errors_passes(code):
    assert is_transient(
        translate_boto_error(ClientError({"Error": {"Code": code}}, "ListObjectsV2"))
    )


def test_waits_grow_and_a_lasting_error_is_not_repeated(monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=waits.append))

    def slow_down() -> None:
        raise OSError(errno.EBUSY, "SlowDown")

    with pytest.raises(UserError, match="s3://b: the store failed 8 times in a row"):
        with_retries("s3://b", slow_down)
    assert len(waits) == TRIES - 1 and max(waits) <= 30 and sum(waits[-3:]) > sum(waits[:3])

    def forbidden() -> None:
        raise PermissionError("AccessDenied")

    waits.clear()
    with pytest.raises(UserError, match="s3://b: PermissionError: AccessDenied"):
        with_retries("s3://b", forbidden)
    assert not waits


class GcsError(Exception):
    """gcsfs's HttpError."""

    __module__ = "gcsfs.retry"

    def __init__(self, code: int) -> None:
        super().__init__(f"backend error, {code}")
        self.code = code


def test_errors_of_google_cloud_are_repeated_or_said(monkeypatch):
    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=lambda _: None))
    assert is_transient(GcsError(503)) and is_transient(GcsError(429))
    assert not is_transient(GcsError(400))
    for error in (GcsError(400), OSError("Forbidden: https://storage.googleapis.com/b")):

        def refused(error=error):
            raise error

        with pytest.raises(UserError, match=r"^gs://b: (GcsError|OSError): "):
            with_retries("gs://b", refused)

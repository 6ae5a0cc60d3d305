"""A stand-in for the service: the real page and headers, and answers that a test gives."""

import json
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import landmark_ray
from landmark_ray.serving.api_models import Status
from landmark_ray.serving.middleware import SECURITY_HEADERS

PAGE = Path(landmark_ray.__file__).parent / "serving" / "page"
SCRIPTS = ("page", "dom", "why")
STATIC = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in SCRIPTS},
}
VERSION = "3f9c0a1b2c3d"
NAMES = ["Torre dos Clérigos", "Ponte Dom Luís I", "Sé do Porto", "", "Palácio da Bolsa"]
CONFIDENCES = [0.9731, 0.0152, 0.0061, 0.0023, 0.0004]


def landmark(number: int, name: str, confidence: float, category: str | None = None) -> dict:
    link = category or f"http://commons.wikimedia.org/wiki/Category:{number}"
    return {
        "landmark_id": number,
        "name": name,
        "category": link if name else None,  # a landmark without a name has no link
        "confidence": confidence,
        "group": 3,
    }


LANDMARKS = [
    landmark(1231 + rank, *pair) for rank, pair in enumerate(zip(NAMES, CONFIDENCES, strict=True))
]


@dataclass(frozen=True)
class Answer:
    """What POST /predict answers once."""

    body: object
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0


def prediction(
    landmarks: list[dict] | None = None, *, known: bool = True, seconds: float = 0
) -> Answer:
    photo = {
        "file": "photo.jpg",
        "is_landmark": known,
        "landmarks": LANDMARKS if landmarks is None else landmarks,
        "error": None,
    }
    timings = {"decode": 3.1, "models": 17.9, "total": 22.4}
    return Answer(
        {"photos": [photo], "model_version": VERSION, "timings_ms": timings}, seconds=seconds
    )


def error(status: int, sentence: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer({"error": sentence}, status, named)


NO_KEY = error(401, "The key is missing or wrong.", WWW_Authenticate="Bearer")


class Stub(ThreadingHTTPServer):
    """Gives `answers` one after the other, the last one for ever, and keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = [prediction()]
        self.key: str | None = None
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.paths: list[str] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def answer(self) -> Answer:
        with self.lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Handler(BaseHTTPRequestHandler):
    server: Stub

    def log_message(self, *_: object) -> None:
        pass

    def send(self, status: int, kind: str, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (SECURITY_HEADERS | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_json(self, answer: Answer) -> None:
        body = json.dumps(answer.body).encode()
        headers = {"Cache-Control": "no-store"} | answer.headers
        self.send(answer.status, "application/json", body, headers)

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        if self.path in STATIC:
            name, kind = STATIC[self.path]
            self.send(200, kind, (PAGE / name).read_bytes(), {})
        elif self.path == "/readyz":
            named = None if self.server.key else VERSION
            ready = Status(status="ready", version=named)
            self.send_json(Answer(ready.model_dump(exclude_none=True)))
        else:
            self.send_json(error(404, "There is nothing here."))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        server.paths.append(self.path)
        with server.lock:
            server.asked.append((self.path, dict(self.headers), body))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        if server.key and self.headers.get("Authorization") != f"Bearer {server.key}":
            answer = NO_KEY
        else:
            answer = server.answer()
        time.sleep(answer.seconds)
        with server.lock:
            server.at_once -= 1
        with suppress(ConnectionError):  # the page may have stopped waiting
            self.send_json(answer)


@contextmanager
def serving():
    """A stub that answers while the block runs."""
    with Stub() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()

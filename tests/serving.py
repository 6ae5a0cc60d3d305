"""Services for tests: an ingress over models that a test makes up, and a real one."""

import asyncio
import contextlib
import io
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from landmark_ray.serving.ingress import Ingress
from tests import drawn
from tests.conftest import REPO

READY_S = 240
CACHE = tempfile.TemporaryDirectory(prefix="landmark-ray-")
"""Of all services of these tests: a network is converted once, however many of them serve it."""

PORTS = range(20_000, 32_000)
"""Neither Ray nor outgoing connections take any of these."""

JPEG = {"Content-Type": "image/jpeg"}
KEY = "a-key-of-some-letters"

CONFIDENCES = {100: 0.75, 201: 0.125, 300: 0.0625}
"""Landmark id -> confidence."""


class RemoteMethod:
    """A method of a Serve handle."""

    def __init__(self, function: Any) -> None:
        self.function = function

    async def remote(self, *args: Any) -> Any:
        return await self.function(*args)


class FakeModelShard:
    """A handle of a model shard that answers `confidences` after some seconds."""

    def __init__(
        self, versions: dict[str, str], confidences: dict[int, float] = CONFIDENCES
    ) -> None:
        """versions: those that it has loaded -> the URIs of their bundles."""
        self.loaded, self.confidences = versions, confidences
        self.seconds = 0.0
        self.errors: list[Exception] = []
        self.asked: list[tuple[str, tuple[int, ...]]] = []
        self.answer, self.versions = RemoteMethod(self._answer), RemoteMethod(self._versions)

    async def _answer(self, version: str, photo: np.ndarray) -> Any:
        self.asked.append((version, photo.shape))
        await asyncio.sleep(self.seconds)
        if self.errors:
            raise self.errors.pop(0)
        if version not in self.loaded:
            return None
        ids, confidences = [*self.confidences], [*self.confidences.values()]
        return (np.array(ids, np.int64), np.array(confidences)), None

    async def _versions(self) -> dict[str, str]:
        return self.loaded


def ingress(*shards: Any, **options: Any) -> Ingress:
    """An ingress over model shards; `reconfigure` it before it is asked."""
    from landmark_ray.serving.serve_options import GraphOptions

    return Ingress(GraphOptions(**options).model_dump(), False, shards)


@contextlib.contextmanager
def running(bundle: Path, folder: Path, *options: str, **env: str) -> Iterator[str]:
    """The address of a service: jobs/serve.py in a process of its own, until the context ends.

    Args:
        bundle: that it serves.
        folder: for its log.
        *options: of jobs/serve.py.
        **env: variables of its environment.
    """
    port, metrics = free_port(), free_port()
    words = [sys.executable, REPO / "jobs/serve.py", "--bundle", bundle, "--port", port]
    words += ["--metrics_port", metrics, *options]
    log = folder / "serve.log"
    environment = os.environ | {"XDG_CACHE_HOME": CACHE.name} | env
    with log.open("w") as out:
        service = subprocess.Popen(list(map(str, words)), stderr=out, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, service, log)
        yield url
        service.terminate()
        assert service.wait(60) == 0, log.read_text()
        assert "***" not in log.read_text() and "retries" not in log.read_text(), "of Ray's own"
    finally:
        service.kill()


def wait_until_ready(url: str, service: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until all its models are loaded."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        assert service.poll() is None, log.read_text()
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"not ready after {READY_S} s: {log.read_text()}")


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def photo(kind: str = "JPEG", size: tuple[int, int] = (64, 48)) -> bytes:
    """A file of a drawn landmark."""
    out = io.BytesIO()
    drawn.photo(size=size).save(out, kind)
    return out.getvalue()


def error(answer: httpx.Response, status: int) -> str:
    """The sentence of a refusal."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    sentence: str = answer.json()["error"]
    return sentence

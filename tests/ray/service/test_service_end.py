"""How the service ends: what is in work is answered, and nothing of it is left."""

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from tests import serving
from tests.conftest import REPO

pytestmark = pytest.mark.ray

MARK = b"marker-of-an-upload-4711"
PATIENCE_S = 60


def photo() -> bytes:
    """A photo with a mark in it."""
    out = io.BytesIO()
    Image.new("RGB", (300, 200), "teal").save(out, "JPEG", comment=MARK)
    return out.getvalue()


@pytest.fixture
def folder():
    """Where the service may write; short: Ray has sockets in it."""
    with tempfile.TemporaryDirectory(prefix="end-") as folder:
        yield Path(folder)


STILL_DEPLOYING = """
import runpy, signal, sys
from ray import serve

def run(*args, run=serve.run, **named):
    run(*args, **named)
    while True:
        signal.pause()

serve.run = run
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A program that runs a job, but whose deployment of a service never ends."""


def start(bundle, folder: Path, *program: str) -> tuple["subprocess.Popen[bytes]", str]:
    """A ready service whose every file lies in a folder or the cache, and its address."""
    port = serving.free_port()
    words = [sys.executable, *program, REPO / "jobs/serve.py", "--bundle", bundle, "--port", port]
    words += ["--metrics_port", serving.free_port()]
    env = os.environ | {"XDG_CACHE_HOME": serving.CACHE.name, "TMPDIR": str(folder)}
    log = folder / "serve.log"
    with log.open("w") as out:
        service = subprocess.Popen(list(map(str, words)), stdout=out, stderr=out, env=env)
    url = f"http://127.0.0.1:{port}"
    serving.wait_until_ready(url, service, log)
    return service, url


@pytest.mark.parametrize(
    ("program", "signals", "status", "answered"),
    [
        (("-c", STILL_DEPLOYING), [signal.SIGTERM], 0, True),
        ((), [signal.SIGINT] * 2, 130, False),
    ],
    ids=["while it is being deployed", "at once"],
)
def test_signals_end_it_with_all_its_processes(bundle, folder, program, signals, status, answered):
    service, url = start(bundle, folder, *program)
    children = psutil.Process(service.pid).children(recursive=True)
    assert len(children) > 5
    open_at = listening([psutil.Process(service.pid), *children])
    for data in (photo(), MARK + b" is no photo"):  # answered, and refused
        httpx.post(f"{url}/predict", files={"a": (f"{MARK.decode()}.jpg", data)})
        httpx.post(f"{url}/predict", content=data, headers=serving.JPEG)

    async def in_flight():
        """The answer to a photo whose second half comes after the signals."""
        half, signalled = asyncio.Event(), asyncio.Event()

        async def slowly():
            data = photo()
            yield data[: len(data) // 2]
            half.set()
            await signalled.wait()
            yield data[len(data) // 2 :]

        async with httpx.AsyncClient(timeout=PATIENCE_S) as session:
            post = session.post(f"{url}/predict", content=slowly(), headers=serving.JPEG)
            flight = asyncio.create_task(post)
            await half.wait()
            assert (await session.get(f"{url}/healthz")).status_code == 200
            service.send_signal(signals[0])
            refused = await ending(session, url)
            assert "ending" in refused.json()["error"]
            for number in signals[1:]:
                service.send_signal(number)
            if not answered:
                await asyncio.to_thread(service.wait, PATIENCE_S / 2)
            signalled.set()
            return (await asyncio.gather(flight, return_exceptions=True))[0]

    found = asyncio.run(asyncio.wait_for(in_flight(), PATIENCE_S))
    assert (getattr(found, "status_code", 0) == 200) == answered
    service.wait(PATIENCE_S)
    assert open_at and open_at <= {"127.0.0.1", "::ffff:127.0.0.1"}, "other machines don't reach it"
    log = (folder / "serve.log").read_text()
    assert service.returncode == status, log
    for noise in ("Traceback", "***", "retries"):
        assert noise not in log
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    places = (folder, Path(serving.CACHE.name))
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert any("ServeReplica" in path.name or "replica_" in path.name for path in files)
    for path in files:  # now all logs are written
        assert MARK not in path.read_bytes(), f"{path} has an upload"


def listening(processes: list[psutil.Process]) -> set[str]:
    """The addresses at which processes wait for connections."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for socket in process.net_connections("tcp"):
                if socket.status == psutil.CONN_LISTEN:
                    found.add(socket.laddr.ip)
    return found


async def ending(session: httpx.AsyncClient, url: str) -> httpx.Response:
    """What a service that was told to end says to newcomers."""
    while (found := await session.get(f"{url}/healthz")).status_code != 503:
        await asyncio.sleep(0.05)
    return found

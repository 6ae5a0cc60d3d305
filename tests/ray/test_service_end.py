"""How the service ends: what is in work is answered, and nothing of it is left."""

import asyncio
import os
import signal
import subprocess
import sys

import httpx
import psutil
import pytest

from tests import serving
from tests.conftest import REPO

pytestmark = pytest.mark.ray

PHOTO = serving.photo()


@pytest.mark.parametrize(
    ("signals", "status", "answered"),
    [([signal.SIGTERM], 0, True), ([signal.SIGINT] * 2, 130, False)],
)
def test_signals_end_it_with_all_its_processes(bundle, tmp_path, signals, status, answered):
    port = serving.free_port()
    url = f"http://127.0.0.1:{port}"
    words = [sys.executable, REPO / "jobs/serve.py", "--bundle", bundle, "--port", port]
    words += ["--metrics_port", serving.free_port()]
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    service = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, env=env)
    serving.wait_until_ready(url, service, tmp_path / "none")
    children = psutil.Process(service.pid).children(recursive=True)
    assert len(children) > 5

    async def in_flight():
        async def slowly():
            yield PHOTO[:999]
            await asyncio.sleep(6 if answered else 20)
            yield PHOTO[999:]

        async with httpx.AsyncClient(timeout=60) as session:
            post = session.post(f"{url}/predict", content=slowly(), headers=serving.JPEG)
            flight = asyncio.create_task(post)
            for number in signals:
                await asyncio.sleep(2)
                service.send_signal(number)
            if answered:
                await asyncio.sleep(1)
                refused = await session.get(f"{url}/healthz")
                assert refused.status_code == 503 and "ending" in refused.json()["error"]
            return (await asyncio.gather(flight, return_exceptions=True))[0]

    found = asyncio.run(in_flight())
    assert (getattr(found, "status_code", 0) == 200) == answered
    _, errors = service.communicate(timeout=60)
    assert service.returncode == status, errors
    for noise in ("Traceback", "***", "retries"):
        assert noise not in errors.decode()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive

"""serve.yaml on a cluster: a new bundle is rolled out, and back, without a failed request."""

import asyncio
import contextlib
import io
import subprocess
import sys
import threading

import httpx
import pytest
import yaml

from tests import bundles, drawn, serving
from tests.cluster import BIN
from tests.conftest import REPO
from tests.training import wait_until

pytestmark = pytest.mark.ray

JPEG = {"Content-Type": "image/jpeg"}


def photo() -> bytes:
    out = io.BytesIO()
    drawn.photo().save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def deploy(cluster, tmp_path):
    """`serve deploy` of serve.yaml with a bundle; the port it serves at."""
    port = serving.free_port()

    def run(bundle, host="127.0.0.1") -> int:
        config = yaml.safe_load((REPO / "serve.yaml").read_text())
        config["http_options"] |= {"port": port, "host": host}
        config["applications"][0]["args"]["bundle"] = str(bundle)
        path = tmp_path / "serve.yaml"
        path.write_text(yaml.safe_dump(config))
        words = [BIN / "serve", "deploy", "--address", cluster.address, path]
        done = subprocess.run(
            words, env=cluster.env, cwd=REPO, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stderr
        return port

    yield run
    cluster.applications("DELETE")


async def load(url, until, found):
    async def client(session):
        while not until():
            answer = await session.post(f"{url}/predict", content=photo(), headers=JPEG)
            value = answer.json()
            guesses = value["photos"][0]["landmarks"] if answer.is_success else value
            found.append((answer.status_code, value.get("model_version"), str(guesses)))

    async with httpx.AsyncClient(timeout=90) as session:
        await asyncio.gather(*(client(session) for _ in range(3)))


def wait_for(url, version) -> None:
    def serves() -> bool:
        with contextlib.suppress(httpx.HTTPError, ValueError):
            answer = httpx.post(f"{url}/predict", content=photo(), headers=JPEG, timeout=30)
            return answer.json().get("model_version") == version
        return False

    wait_until(serves, f"{url} doesn't serve {version}")
    assert httpx.get(f"{url}/version").json()["version"] == version


def wait_for_requests(found, more: int) -> None:
    """Wait until clients have a number of further answers."""
    wanted = len(found) + more
    wait_until(lambda: len(found) >= wanted, "the clients have no answers")


@pytest.mark.timeout(1800)
def test_bundles_are_rolled_out_and_back_without_a_failed_request(cluster, deploy, tmp_path):
    places = {}
    for seed, size in ((0, 48), (1, 64)):  # photos of another size, too
        place = tmp_path / f"bundle-{seed}"  # the new one has an index
        manifest = bundles.write(place, seed=seed, size=size, index=seed == 1)
        places[manifest.version] = tmp_path / f"bundle-{seed}"
    old, new = places
    url = f"http://127.0.0.1:{deploy(places[old])}"
    wait_for(url, old)
    over = threading.Event()
    found = []
    clients = threading.Thread(target=lambda: asyncio.run(load(url, over.is_set, found)))
    clients.start()
    try:
        deploy(places[new])
        wait_for(url, new)
        wait_for_requests(found, 20)
        done = job(cluster, places[old], url.rpartition(":")[2])
        assert done.returncode == 0 and "to roll that out" in done.stderr, done.stderr
        wait_for(url, old)
        wait_for_requests(found, 20)
    finally:
        over.set()
        clients.join()
    statuses = {status for status, _, _ in found}
    assert statuses == {200}, [entry for entry in found if entry[0] != 200][:3]
    seen = [version for _, version, _ in found]
    order = [v for v, before in zip(seen, [None, *seen], strict=False) if v != before]
    assert order == [old, new, old]
    assert len(set(found)) == 2, "answers of one version differ: versions were mixed"
    print(f"{len(found)} requests, none failed")


def job(cluster, bundle, port, **more):
    """jobs/serve.py on the same cluster: it replaces the replicas, deploys and leaves."""
    words = [sys.executable, REPO / "jobs/serve.py", "--bundle", bundle, "--port", port]
    joined = cluster.env | {"RAY_ADDRESS": cluster.gcs} | more
    return subprocess.run(
        list(map(str, words)), env=joined, capture_output=True, text=True, timeout=900
    )


def test_other_machines_are_let_in_only_with_a_key_that_every_node_has(cluster, deploy, tmp_path):
    bundles.write(tmp_path / "bundle")
    done = job(cluster, tmp_path / "bundle", serving.free_port(), LANDMARK_RAY_KEY="k" * 20)
    assert done.returncode == 2, done.stderr
    assert "a node of the cluster has no LANDMARK_RAY_KEY" in done.stderr.strip().splitlines()[-1]


def test_configuration_that_lets_other_machines_in_needs_a_key(cluster, deploy, tmp_path):
    bundles.write(tmp_path / "bundle")
    deploy(tmp_path / "bundle", host="0.0.0.0")
    said = []

    def failed() -> bool:
        said.append(cluster.applications())
        return "DEPLOY_FAILED" in said[-1]

    wait_until(failed, "it was deployed")
    assert "--host 0.0.0.0 lets other machines in" in said[-1], said[-1]

"""Which version of a bundle answers, while another one is loaded, and what it says of itself."""

import asyncio
import base64
import json
import shutil

import pytest

from landmark_ray.bundle.manifest import version
from tests import bundles
from tests.serving import JPEG, error, photo

B64 = base64.b64encode(photo()).decode()


@pytest.mark.parametrize(("witnesses", "known"), [("heads", True), ("fused", False)])
def test_heads_alone_have_a_threshold_of_their_own(make, bundle, tmp_path, witnesses, known):
    shutil.copytree(bundle[0], tmp_path / "b")
    manifest = json.loads((tmp_path / "b/bundle.json").read_text()) | {"heads_threshold": 0.2}
    manifest["version"] = version(manifest["files"], manifest["threshold"], 0.2)
    (tmp_path / "b/bundle.json").write_text(json.dumps(manifest))
    client, shard = make(confidences={100: 0.25}, witnesses=witnesses)
    asyncio.run(client.app.state.service.reconfigure({"bundle": str(tmp_path / "b")}))
    shard.loaded = {manifest["version"]: str(tmp_path / "b")}
    (found,) = client.post("/predict", content=photo(), headers=JPEG).json()["photos"]
    assert found["is_landmark"] == known
    assert client.get("/version").json()["threshold"] == (0.2 if known else 0.5)


def test_service_is_ready_only_when_its_models_have_the_version(make):
    client, shard = make()
    assert client.get("/readyz").status_code == 200
    shard.loaded = {"another": "x"}
    error(client.get("/readyz"), 503)
    error(client.get("/v2/health/ready"), 503)
    assert client.get("/healthz").status_code == 200


def test_while_a_newer_version_loads_the_older_one_is_ready_and_named(make, tmp_path):
    client, shard = make()
    old, service = next(iter(shard.loaded)), client.app.state.service
    newer = bundles.write(tmp_path / "newer", seed=7)
    asyncio.run(service.reconfigure({"bundle": str(tmp_path / "newer")}))
    model = "/v2/models/landmark"
    body = {"inputs": [{"name": "photo", "shape": [1], "datatype": "BYTES", "data": [B64]}]}

    def answered(version):
        return client.post(f"{model}/versions/{version}/infer", json=body)

    for path in ("/readyz", "/v2/health/ready", f"{model}/ready", f"{model}/versions/{old}/ready"):
        assert client.get(path).status_code == 200, path
    assert client.get("/version").json()["version"] == old
    assert client.get("/readyz").json() == {"status": "ready", "version": old}
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get(model).json()["versions"] == [old]
    assert answered(old).json()["model_version"] == old
    error(client.get(f"{model}/versions/{newer.version}/ready"), 503)
    error(answered(newer.version), 503)
    assert f"version {newer.version} and {old}." in error(answered("v0"), 404)
    shard.loaded = {newer.version: str(tmp_path / "newer")}
    assert client.get("/version").json()["version"] == newer.version
    assert answered(newer.version).json()["model_version"] == newer.version
    assert "isn't loaded" in error(answered(old), 404)


def test_version_that_only_the_models_know_yet_is_learned(make, tmp_path):
    client, shard = make()
    newer = bundles.write(tmp_path / "newer", seed=7)
    shard.loaded = {newer.version: str(tmp_path / "newer")}
    answer = client.post("/predict", content=photo(), headers=JPEG)
    assert answer.json()["model_version"] == newer.version

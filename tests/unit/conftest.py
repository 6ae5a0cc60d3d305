import asyncio

import pytest
from starlette.testclient import TestClient

from tests import bundles


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The address of a small bundle with a threshold of 0.5, and its manifest."""
    place = tmp_path_factory.mktemp("bundle") / "bundle"
    return str(place), bundles.write(place, threshold=0.5, warning=bundles.WARNING)


@pytest.fixture
def make(bundle, monkeypatch):
    """A client of a service with options, and the made-up model shard behind it."""
    from landmark_ray.serving import api  # Ray, which most tests don't need
    from tests.serving import FakeModelShard, ingress

    made = []

    def client(key="", confidences=None, **options):
        monkeypatch.setenv("LANDMARK_RAY_KEY", key)
        uri, manifest = bundle
        shard = FakeModelShard(
            {manifest.version: uri}, **({"confidences": confidences} if confidences else {})
        )
        service = ingress(shard, **{"decoders": 1, **options})
        asyncio.run(service.reconfigure({"bundle": uri}))
        made.append(service)
        return TestClient(api.build_app(service), raise_server_exceptions=False), shard

    yield client
    for service in made:
        service.decoder.stop()

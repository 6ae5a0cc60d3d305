import asyncio
import shutil
import weakref
from unittest.mock import AsyncMock

import fsspec
import pytest
from starlette.testclient import TestClient

from tests import bundles, store
from tests import presets as small


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The address of a small bundle with a threshold of 0.5, and its manifest."""
    place = tmp_path_factory.mktemp("bundle") / "bundle"
    return str(place), bundles.write(place, threshold=0.5, warning=bundles.WARNING)


@pytest.fixture(scope="session")
def decoder():
    """A decoder with one running process, which takes a second to start."""
    from landmark_ray.serving.decoding import Decoder

    class SharedDecoder(Decoder):
        """Its photos wait in the event loop of their test, of which each test has others."""

        _of_loops = weakref.WeakKeyDictionary()

        @property
        def _turns(self):
            turns = Decoder._turns.func(self)
            return self._of_loops.setdefault(asyncio.get_running_loop(), turns)

    running = SharedDecoder(1, timeout_s=10)
    asyncio.run(running.start())
    running.start = AsyncMock()
    yield running
    running.stop()


@pytest.fixture
def make(bundle, decoder, monkeypatch):
    """A client of a service with options, and the made-up model shard behind it."""
    from landmark_ray.serving import api  # Ray, which most tests don't need
    from tests.serving import FakeModelShard, ingress

    def client(key="", confidences=None, **options):
        monkeypatch.setenv("LANDMARK_RAY_KEY", key)
        monkeypatch.setattr("landmark_ray.serving.recogniser.Decoder", lambda *_: decoder)
        uri, manifest = bundle
        shard = FakeModelShard(
            {manifest.version: uri}, **({"confidences": confidences} if confidences else {})
        )
        service = ingress(shard, **options)
        asyncio.run(service.reconfigure({"bundle": uri}))
        return TestClient(api.build_app(service), raise_server_exceptions=False), shard

    return client


@pytest.fixture(scope="session")
def families(tmp_path_factory):
    """Name of a family -> the folder of its preset and the backbone that was saved."""
    folder = tmp_path_factory.mktemp("presets")
    return {name: (folder / name, small.write(name, folder / name)) for name in small.FAMILIES}


@pytest.fixture
def vit(families, tmp_path):
    """A preset of one's own, to spoil."""
    return shutil.copytree(families["vit"][0], tmp_path / "vit")


@pytest.fixture(scope="module")
def bucket():
    """An S3 of this process."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # of earlier servers
    server, address = store.serve(store.Ill())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "x"),
            **{"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": address},
        }.items():
            patch.setenv(name, value)
        yield store.client()
    server.shutdown()

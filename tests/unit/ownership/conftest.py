"""A quick product, for tests of what a run may delete and write over."""

import fsspec
import pytest

from tests import product, store


@pytest.fixture(scope="module", autouse=True)
def quick_product():
    with product.quick():
        yield


@pytest.fixture(scope="session")
def small_root():
    pytest.fail("stand-ins would write the root that all tests share: ask for it elsewhere")


@pytest.fixture
def source(tmp_path):
    return product.photos(tmp_path / "source")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture(scope="module")
def bucket():
    """An S3 of this process."""
    server, address = store.serve(store.Ill())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "x"),
            **{"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": address},
        }.items():
            patch.setenv(name, value)
        yield store.client()
    server.shutdown()


@pytest.fixture
def memory():
    fsspec.filesystem("memory").store.clear()
    yield
    fsspec.filesystem("memory").store.clear()

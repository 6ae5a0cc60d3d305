"""A quick product, for tests of what a run may delete and write over."""

import fsspec
import pytest

from tests import product


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


@pytest.fixture
def memory():
    fsspec.filesystem("memory").store.clear()
    yield
    fsspec.filesystem("memory").store.clear()

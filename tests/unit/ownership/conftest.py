"""A quick product, for tests of what a run may delete and write over."""

import pytest

from tests import product


@pytest.fixture(scope="module", autouse=True)
def quick_product():
    with product.quick():
        yield


@pytest.fixture
def source(tmp_path):
    return product.photos(tmp_path / "source")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"

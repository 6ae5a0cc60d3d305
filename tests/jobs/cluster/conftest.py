from collections.abc import Iterator

import pytest

from tests.cluster import Running, running


@pytest.fixture(scope="package")
def cluster(tmp_path_factory) -> Iterator[Running]:
    """Start a head and two workers for the tests of this folder."""
    with running(tmp_path_factory.mktemp("token")) as cluster:
        yield cluster

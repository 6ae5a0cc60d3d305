import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Running, running


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[Running]:
    """A head and two workers, started for the tests."""
    with running(tmp_path_factory.mktemp("token")) as cluster:
        yield cluster


@pytest.fixture
def again(trained_root, tmp_path) -> Path:
    """A copy of the trained root to train anew."""
    shutil.copytree(trained_root, tmp_path / "root")
    return tmp_path / "root"

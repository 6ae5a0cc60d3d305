from pathlib import Path

import pytest

from tests import bundles, serving


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    """A bundle of small networks with random weights: 44 landmarks in 11 groups, one trunk."""
    place: Path = tmp_path_factory.mktemp("bundle") / "bundle"
    bundles.write(place, groups=tuple(range(1, 12)), reference=True)
    return place


@pytest.fixture(scope="session")
def metrics_port() -> int:
    """Where the service shows its metrics."""
    return serving.free_port()


@pytest.fixture(scope="session")
def service(bundle, metrics_port, tmp_path_factory):
    """The address of a service of that bundle, with small limits."""
    options = ("--max_megabytes", "2", "--max_megapixels", "8", "--upload_seconds", "3")
    options += ("--decode_seconds", "2", "--metrics_port", str(metrics_port))
    with serving.running(bundle, tmp_path_factory.mktemp("service"), *options) as url:
        yield url

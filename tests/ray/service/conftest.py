from pathlib import Path

import pytest

from tests import bundles, serving


@pytest.fixture(scope="package")
def bundle(tmp_path_factory) -> Path:
    """A bundle of small networks with random weights: 44 landmarks in 11 groups, one trunk.

    It has an index.
    """
    place: Path = tmp_path_factory.mktemp("bundle") / "bundle"
    bundles.write(place, groups=tuple(range(1, 12)), reference=True, index=True)
    return place


@pytest.fixture(scope="package")
def own_trunks(tmp_path_factory) -> Path:
    """A bundle of two groups, each with a trunk of its own, and an index with a third trunk."""
    place: Path = tmp_path_factory.mktemp("own-trunks") / "bundle"
    bundles.write(place, groups=(1, 2), shared=False, seed=3, index=True)
    return place


@pytest.fixture(scope="package")
def replicas(own_trunks, tmp_path_factory):
    """The address of a service of those trunks, with a key, and replicas that a test may kill."""
    options = ("--packs", "2", "--index_shards", "2", "--replicas", "2", "--queue", "4")
    options += ("--max_megabytes", "1", "--cluster.cpus", "4")  # the nine replicas take 3.25
    place = tmp_path_factory.mktemp("replicas")
    with serving.running(own_trunks, place, *options, LANDMARK_RAY_KEY=serving.KEY) as url:
        yield url


@pytest.fixture(scope="package")
def metrics_port() -> int:
    """Where the service shows its metrics."""
    return serving.free_port()


@pytest.fixture(scope="package")
def service(bundle, metrics_port, tmp_path_factory):
    """The address of a service of that bundle, with small limits."""
    options = ("--max_megabytes", "2", "--max_megapixels", "8", "--upload_seconds", "3")
    options += ("--decode_seconds", "2", "--metrics_port", str(metrics_port))
    with serving.running(bundle, tmp_path_factory.mktemp("service"), *options) as url:
        yield url

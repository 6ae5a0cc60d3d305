from pathlib import Path

import numpy as np
import pytest

from tests import bundles, drawn, serving


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files of this folder that need no service of these run first, tests of replicas run last.

    The processes of a service take a tenth to a quarter of a core while nobody asks it.
    """
    if config.getoption("--order-seed") is not None:
        return
    ours = [n for n, item in enumerate(items) if Path(__file__).parent in item.path.parents]
    users = {items[n].path for n in ours if "service" in items[n].fixturenames}

    def needs(n: int) -> tuple[bool, bool]:
        return "replicas" in items[n].fixturenames, items[n].path in users

    for n, item in zip(ours, [items[n] for n in sorted(ours, key=needs)], strict=True):
        items[n] = item


@pytest.fixture(scope="package")
def bundle(tmp_path_factory) -> Path:
    """A bundle of small networks with random weights: 44 landmarks in 11 groups, one trunk.

    It has an index, and exemplars of all landmarks.
    """
    place: Path = tmp_path_factory.mktemp("bundle") / "bundle"
    groups = tuple(range(1, 12))
    bundles.write(place, groups=groups, reference=True, index=True, exemplars=exemplars(groups))
    return place


def exemplars(groups: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Landmark -> its exemplar; some are of the photos that tests send."""
    landmarks = [100 * group + number for group in groups for number in range(4)]
    return {
        landmark: np.asarray(drawn.photo(seed, (200, 160)))
        for seed, landmark in enumerate(landmarks)
    }


@pytest.fixture(scope="package")
def own_trunks(tmp_path_factory) -> Path:
    """A bundle of two groups, each with a trunk of its own, and an index with a third trunk."""
    place: Path = tmp_path_factory.mktemp("own-trunks") / "bundle"
    made = exemplars((1, 2))
    bundles.write(place, groups=(1, 2), shared=False, seed=3, index=True, exemplars=made)
    return place


@pytest.fixture(scope="package")
def replicas(own_trunks, tmp_path_factory):
    """The address of a service of those trunks, with a key, and replicas that a test may kill."""
    options = ("--packs", "2", "--index_shards", "2", "--replicas", "2", "--queue", "4")
    options += ("--verify", "always")
    options += ("--max_megabytes", "1", "--cluster.cpus", "4")  # the eleven replicas take 3.75
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

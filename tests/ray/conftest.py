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
def service(bundle, tmp_path_factory):
    """The address of a service of that bundle, with small limits."""
    limits = ("--max_megabytes", "2", "--max_megapixels", "8", "--upload_seconds", "3")
    folder = tmp_path_factory.mktemp("service")
    with serving.running(bundle, folder, *limits, "--decode_seconds", "2") as url:
        yield url

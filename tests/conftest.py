import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
SHARED = REPO.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real photographs and models."""
    if not SHARED.is_dir():
        pytest.skip(
            f"needs real photographs and models: there is no folder {SHARED.name} beside the repository"
        )
    return SHARED


@pytest.fixture(scope="session")
def gld_mini(shared: Path) -> Path:
    """A miniature of GLDv2 with 655 real photographs."""
    return shared / "data" / "gld-mini"


@pytest.fixture(scope="session")
def ray_started():
    """One Ray for all tests of this process."""
    import ray

    from landmark_ray.config import ClusterConfig, Config
    from landmark_ray.stages.shards import start_ray

    start_ray(Config(cluster=ClusterConfig(cpus=2, object_store_gb=0.5)))
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def run_job():
    """Run jobs/NAME.py as a person does."""

    def run(
        name: str, *args: object, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, REPO / "jobs" / f"{name}.py", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=900)

    return run

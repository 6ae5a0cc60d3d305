import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import drawn

REPO = Path(__file__).parents[1]
SHARED = REPO.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real photographs and models."""
    if not SHARED.is_dir():
        pytest.skip(f"needs real photographs and models in {SHARED}, which is not there")
    return SHARED


@pytest.fixture(scope="session")
def gld_mini(shared: Path) -> Path:
    """A miniature of GLDv2 with 655 real photographs."""
    return shared / "data" / "gld-mini"


@pytest.fixture(scope="session")
def run_job():
    """Run jobs/NAME.py as a person does."""

    def run(
        name: str, *args: object, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, REPO / "jobs" / f"{name}.py", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=900)

    return run


@dataclass(frozen=True)
class SmallSource:
    """A drawn dataset, and the options that make its run quick."""

    path: Path
    options: tuple[str, ...] = (
        *("--sample.buckets", "3", "--sample.shard_images", "16"),
        *("--extract.max_feature_num", "400", "--extract.max_side", "320"),
        *("--match.task_pairs", "40"),  # the larger classes are cut into parts
    )


@pytest.fixture(scope="session")
def small_source(tmp_path_factory) -> SmallSource:
    """72 drawn photos in 4 tars."""
    path = tmp_path_factory.mktemp("small") / "source"
    drawn.draw(path)
    return SmallSource(path)


@pytest.fixture(scope="session")
def small_root(small_source, run_job, tmp_path_factory) -> Path:
    """The tables of an undisturbed run over `small_source`, up to the examples."""
    root = tmp_path_factory.mktemp("small-root")
    args = ("--source", small_source.path, "--root", root, *small_source.options)
    done = run_job("pipeline", *args, "--to", "group")
    assert done.returncode == 0, done.stderr
    return root

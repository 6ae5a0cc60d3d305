import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import detector
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


def untrain(root: Path, *groups: int) -> Path:
    """Make a trained root one in which the networks of some groups are still to be trained."""
    record = json.loads((root / "_ledger/finetune.json").read_text())
    (root / "_ledger/finetune.json").write_text(json.dumps(record | {"state": "running"}))
    for group in groups:
        (root / f"models/finetuned/group={group}/head.json").unlink()
    return root


@pytest.fixture
def one_left(again) -> Path:
    """A trained root in which the network of one group is still to be trained."""
    return untrain(again, 1)


@pytest.fixture(scope="session")
def detector_model(tmp_path_factory) -> Path:
    """A detector of coloured spots."""
    return detector.save(tmp_path_factory.mktemp("detector") / "model")


@pytest.fixture(scope="session")
def detected(small_source, small_root, detector_model, run_job, tmp_path_factory) -> Path:
    """`small_root` with a detector that really looks."""
    root = tmp_path_factory.mktemp("detected") / "root"
    shutil.copytree(small_root, root)
    done = run_job("pipeline", *detecting(small_source, root, detector_model), "--redo", "detect")
    assert done.returncode == 0, done.stderr
    return root


def detecting(source, root: Path, model: Path) -> tuple[object, ...]:
    """Options of a run with a detector, from there to its rules."""
    last = ("--from", "detect", "--to", "clean", "--detect.handle", model)
    return ("--source", source.path, "--root", root, *source.options, *last)

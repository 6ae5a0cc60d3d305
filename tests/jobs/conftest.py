import json
import os
import runpy
import shutil
import sys
from pathlib import Path
from unittest import mock

import pytest

from tests import detector
from tests.running import REPO

BENCH = REPO / "bench"
ONE_DETECTOR = ("--detect.cpus", os.cpu_count())
"""Options with which one worker detects, so that TensorFlow starts once."""


@pytest.fixture
def toy_figures(monkeypatch, capfd, run_job):
    """Run bench/NAME.py --smoke in this process, on the Ray of `run_job`; returns its figures."""

    def run(name: str) -> dict[str, dict]:
        script = str(BENCH / f"{name}.py")
        monkeypatch.syspath_prepend(str(BENCH))
        monkeypatch.setattr(sys, "argv", [script, "--smoke"])
        with mock.patch.dict(os.environ), pytest.raises(SystemExit) as end:
            os.environ.pop("RAY_ADDRESS", None)
            runpy.run_path(script, run_name="__main__")
        out, err = capfd.readouterr()
        assert end.value.code == 0, out + err
        figures: dict[str, dict] = json.loads(out.splitlines()[-1])
        for name, row in figures.items():
            assert isinstance(row["value"], int | float), name
            assert {"what", "unit", "bound", "met", "quoted"} <= set(row), name
        return figures

    return run


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
    options = (*detecting(small_source, root, detector_model), *ONE_DETECTOR)
    done = run_job("pipeline", *options, "--redo", "detect")
    assert done.returncode == 0, done.stderr
    return root


def detecting(source, root: Path, model: Path) -> tuple[object, ...]:
    """Options of a run with a detector, from there to its rules."""
    last = ("--from", "detect", "--to", "clean", "--detect.handle", model)
    return ("--source", source.path, "--root", root, *source.options, *last)

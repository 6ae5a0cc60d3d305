"""jobs/plan.py on a small drawn source: the table, the JSON, wrong options, an interrupt."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from landmark_ray.config import STAGES
from tests.conftest import REPO, TRAINING, line_of

pytestmark = pytest.mark.ray


def test_plan_runs_the_stages_in_small_and_leaves_nothing(small_source, run_process, tmp_path):
    scratch, output = tmp_path / "scratch", tmp_path / "plan.json"
    scratch.mkdir()
    args = ("--source", small_source.path, *small_source.options, *TRAINING)
    own = ("--plan.sample", 48, "--plan.scratch", scratch, "--plan.output", output)
    few = ("--train.trunk_epochs", 2, "--train.head_epochs", 2)
    done = run_process("plan", *args, *few, *own, "--root", tmp_path / "root", "--from", "ingest")
    assert done.returncode == 0, done.stderr
    plan = json.loads(output.read_text())
    assert list(plan["stages"]) == ["start", *STAGES[1:]]
    assert plan["calibration"]["stored"] == []
    assert plan["stages"]["extract"]["amount"] > 50
    assert plan["total"]["seconds"] == sum(s["seconds"] for s in plan["stages"].values())
    assert plan["dominant"] in done.stdout and "The reference took 12 days" in done.stdout
    assert "calibrating on" in done.stderr
    assert not list(scratch.iterdir()) and not (tmp_path / "root").exists()


def test_plan_without_calibration_says_so(small_source, run_job, tmp_path):
    output = tmp_path / "plan.json"
    own = ("--plan.sample", 0, "--plan.cluster", "aws", "--plan.output", output)
    done = run_job("plan", "--source", small_source.path, *own, "--to", "match")
    assert done.returncode == 0, done.stderr
    assert "extract*" in done.stdout and "stored figures" in done.stdout
    plan = json.loads(output.read_text())
    assert list(plan["stages"]) == ["start", *STAGES[: STAGES.index("match") + 1]]
    assert plan["stages"]["ingest"]["gets"] and plan["total"]["dollars"]


def test_beginning_of_a_tar_is_enough(small_source, run_process, tmp_path):
    output = tmp_path / "plan.json"
    own = ("--plan.sample", 24, "--plan.read_gb", 0, "--plan.output", output, "--to", "resize")
    done = run_process("plan", "--source", small_source.path, *small_source.options, *own)
    assert done.returncode == 0, done.stderr
    plan = json.loads(output.read_text())
    assert plan["calibration"]["fits"]["match"]["rate"] > 0
    assert plan["stages"]["resize"]["amount"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--source is missing"),
        (("--source", "SOURCE", "--plan.cluster", "mainframe"), "there are this, desktop"),
        (("--source", "SOURCE", "--plan.sampel", "3"), "did you mean --plan.sample?"),
        (("--source", "SOURCE", "--from", "match", "--to", "ingest"), "comes after --to"),
        (("--source", "SOURCE", "--redo", "match"), "--redo"),
        (("--source", "nowhere"), f"there is nothing at {Path.cwd()}/nowhere"),
    ],
)
def test_mistakes_end_in_a_line(options, words, small_source, run_job):
    given = [str(small_source.path) if word == "SOURCE" else word for word in options]
    assert words in line_of(run_job("plan", *given))


def test_interrupted_plan_leaves_nothing(small_source, tmp_path):
    command = [sys.executable, REPO / "jobs/plan.py", "--source", small_source.path]
    command += [*small_source.options, "--plan.sample", "48", "--plan.scratch", tmp_path]
    with subprocess.Popen(
        [str(word) for word in command], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as job:
        while not any(tmp_path.glob("*/*-root/_ledger/ingest.json")):
            assert job.poll() is None
            time.sleep(0.1)
        os.killpg(job.pid, signal.SIGINT)
        _, errors = job.communicate(timeout=60)
    assert job.returncode == 130 and "Traceback" not in errors
    assert not list(tmp_path.iterdir())

"""jobs/plan.py on a small drawn source: the table, the JSON, wrong options, an interrupt."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from landmark_ray import cli
from landmark_ray.config import STAGES
from landmark_ray.cost.calibration import fitted
from landmark_ray.cost.clusters import this_machine
from landmark_ray.cost.forecast import forecast
from landmark_ray.cost.job import CostConfig
from landmark_ray.cost.trial import read_trial
from landmark_ray.data.root import Root
from tests.conftest import REPO, TRAINING, line_of
from tests.training import wait_until

pytestmark = pytest.mark.ray


@pytest.mark.long
def test_plan_runs_all_stages_in_small_and_leaves_nothing(small_source, run_process, tmp_path):
    plan, _ = planned(run_process, small_source, tmp_path, "--plan.sample", 48, "--from", "ingest")
    assert list(plan["stages"]) == ["start", *STAGES[1:]]
    assert plan["calibration"]["stored"] == []
    assert all(plan["calibration"]["fits"][stage]["rate"] > 0 for stage in ("extract", "trunk"))


def test_calibration_reads_the_beginning_of_a_tar(small_source, run_process, tmp_path):
    few = ("--plan.sample", 24, "--plan.read_gb", 0, "--from", "ingest", "--to", "resize")
    few += ("--cluster.cpus", 1)  # a process for each kind of task, not two
    plan, done = planned(run_process, small_source, tmp_path, *few)
    ran = STAGES[: STAGES.index("resize") + 1]
    assert list(plan["stages"]) == ["start", *ran[1:]]
    assert plan["calibration"]["stored"] == [stage for stage in STAGES if stage not in ran]
    assert len(plan["calibration"]["photos"]) == 2
    fits = plan["calibration"]["fits"]
    assert all(fits[stage]["rate"] > 0 for stage in ("ingest", "extract"))
    assert plan["stages"]["extract"]["amount"] > 50 and plan["stages"]["clean"]["kept_gb"] > 0
    assert plan["dominant"] in done.stdout and "The reference took 12 days" in done.stdout
    assert "calibrating on" in done.stderr


def planned(run_process, source, folder: Path, *options: object):
    """The plan of a run, with short trainings, and the job that made it; nothing else is left."""
    scratch, output = folder / "scratch", folder / "plan.json"
    scratch.mkdir()
    args = ("--source", source.path, *source.options, *TRAINING, "--root", folder / "root")
    short = ("--train.trunk_epochs", 2, "--train.head_epochs", 2)
    own = ("--plan.scratch", scratch, "--plan.output", output)
    done = run_process("plan", *args, *short, *own, *options)
    assert done.returncode == 0, done.stderr
    assert not list(scratch.iterdir()) and not (folder / "root").exists()
    plan = json.loads(output.read_text())
    assert plan["total"]["seconds"] == sum(s["seconds"] for s in plan["stages"].values())
    return plan, done


def test_finished_run_is_read_as_a_trial_of_all_stages(small_source, trained_root):
    given = CostConfig(source=str(small_source.path), root=str(trained_root))
    trial = read_trial(cli.recorded_config(given, Root(given.root), "export"))
    for table, attribute in (("images", "usable"), ("pairs", "pairs"), ("examples", "examples")):
        rows = Root(given.root).dataset(table).count_rows()
        assert getattr(trial.run, attribute).sum() == rows > 0
    known = fitted([trial], cores=2)
    assert known.stored == []
    tasks = ("ingest", "dedupe", "extract", "match", "prune", "clean", "group", "resize", "embed")
    assert all(trial.task_seconds[stage] > 0 for stage in tasks)
    assert known.fits["extract"].rate > 0 and known.bytes["extract"].rate > 0
    steps = trial.seconds_per_item
    assert {stage: len(each) for stage, each in steps.items()} == {
        "trunk": 1,
        "train": 2,
        "finetune": 2,
    }
    assert all(np.isfinite(each).any() and (each > 0).any() for each in steps.values())
    cluster = this_machine(2)
    planned = forecast(trial.run, known, cluster, STAGES)
    for row in planned.rows[1:]:
        if row.stage in ("ingest", "dedupe", "extract", "resize", "embed"):
            assert row.seconds == pytest.approx(trial.seconds[row.stage])


def test_plan_without_calibration_says_so(small_source, run_job, tmp_path):
    output = tmp_path / "plan.json"
    own = ("--plan.sample", 0, "--plan.cluster", "aws", "--plan.output", output)
    done = run_job("plan", "--source", small_source.path, *own, "--to", "match")
    assert done.returncode == 0, done.stderr
    assert "extract*" in done.stdout and "stored figures" in done.stdout
    assert "requests to the object store are not counted" in done.stdout
    plan = json.loads(output.read_text())
    assert list(plan["stages"]) == ["start", *STAGES[: STAGES.index("match") + 1]]
    assert plan["total"]["dollars"] > 0 and plan["month_dollars"] > 0


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
        begun = "*/*-root/_ledger/ingest.json"
        wait_until(lambda: job.poll() is not None or any(tmp_path.glob(begun)), "no trial runs")
        os.killpg(job.pid, signal.SIGINT)
        _, errors = job.communicate(timeout=180)
    assert job.returncode == 130 and "Traceback" not in errors
    assert not list(tmp_path.iterdir())

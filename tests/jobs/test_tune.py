"""The search for the heads' options, as a person runs it."""

import os
import signal
import subprocess
import sys
import tomllib

import pandas as pd
import pytest

from landmark_ray.config import Config
from tests.conftest import REPO, line_of
from tests.training import wait_until

pytestmark = pytest.mark.ray

SEARCHED = {"head_rate", "views", "scale"}
"""The trunk of the root was trained from scratch, with the other options."""


@pytest.mark.parametrize("group", [pytest.param(None, marks=pytest.mark.long), 2])
def test_best_options_are_a_file_that_config_reads(again, run_job, tmp_path, group):
    output = tmp_path / "best.toml"
    which = () if group is None else ("--tune.group", group)
    args = ("--root", again, "--tune.trials", 4, "--output", output, *which)
    done = run_job("tune", *args)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 trials" in done.stderr
    assert "present" in done.stdout
    options = tomllib.loads(output.read_text())
    assert set(options["train"]) == SEARCHED
    assert Config(**options).train.views == options["train"]["views"]
    trials = pd.read_csv(output.with_suffix(".csv"))
    assert len(trials) == 4
    assert trials.score.between(0, 1).all()
    own = trials[trials.present]
    assert len(own) == 1
    assert own.steps.item() == trials.steps.max(), "the run's own options are never stopped"
    assert own.head_rate.item() == Config().train.head_rate
    assert not (again / "_staging/tune").exists()


def test_interrupted_search_publishes_nothing(again, tmp_path):
    best, search = tmp_path / "best.toml", again / "_staging/tune"
    command = [sys.executable, REPO / "jobs/tune.py", "--root", again, "--output", best]
    with subprocess.Popen(
        [str(word) for word in (*command, "--tune.trials", 100, "--cluster.cpus", 1)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as job:
        scored = "**/result.json"
        wait_until(lambda: job.poll() is not None or any(search.glob(scored)), "no trial runs")
        os.killpg(job.pid, signal.SIGINT)
        _, errors = job.communicate(timeout=180)
    assert job.returncode == 130 and "Traceback" not in errors
    assert "stopped" in errors
    assert not best.exists() and not search.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--tune.group", "9"), "--tune.group 9: no landmark of this group has validation images"),
        (("--output", "best.yaml"), "--output: best.yaml must end in .toml"),
        (("--tune.trials", "0"), "tune.trials"),
        (("--redo", "train"), "this job only reads"),
    ],
)
def test_wrong_options_are_one_line(trained_root, run_job, options, says):
    assert says in line_of(run_job("tune", "--root", trained_root, *options))


def test_without_vectors_the_job_to_run_is_named(small_root, run_job):
    assert "run jobs/trunk.py first" in line_of(run_job("tune", "--root", small_root))

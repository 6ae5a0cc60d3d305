"""The search for the heads' options, as a person runs it."""

import tomllib

import pandas as pd
import pytest

from landmark_ray.config import Config
from tests.conftest import line_of

pytestmark = pytest.mark.ray

SEARCHED = {"head_rate", "dropout", "smoothing", "weight_decay", "views", "scale"}


@pytest.mark.parametrize("group", [pytest.param(None, marks=pytest.mark.long), 2])
def test_best_options_are_a_file_that_config_reads(trained_root, run_job, tmp_path, group):
    output = tmp_path / "best.toml"
    which = () if group is None else ("--tune.group", group)
    args = ("--root", trained_root, "--tune.trials", 4, "--output", output, *which)
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
    assert not (trained_root / "_staging/tune").exists()


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

"""What trials of jobs/plan.py say of this machine."""

from collections import Counter

import numpy as np
import pytest

from landmark_ray.config import STAGES
from landmark_ray.cost.calibration import (
    Fit,
    default_calibration,
    fit_line,
    fitted,
    training_rate,
)
from landmark_ray.cost.clusters import read_cluster, worker_pool
from landmark_ray.cost.forecast import row_of
from landmark_ray.cost.trial import Trial
from landmark_ray.cost.work import work_of
from tests.plans import known_of, run_of


def test_two_runs_tell_the_fixed_part_from_the_rate():
    fit = fit_line([(10, 5), (30, 9)])
    assert (fit.fixed, fit.rate) == pytest.approx((3, 0.2))


def test_neither_part_is_negative():
    assert fit_line([(10, 5), (30, 4)]) == Fit(fixed=4.5)
    assert fit_line([(10, 5), (30, 4)], 0.1) == Fit(fixed=2.5, rate=0.1)
    assert fit_line([(10, 5), (30, 4)], 1.0) == Fit(rate=1.0)
    assert fit_line([(10, 1), (30, 9)]).fixed == 0


def test_one_run_alone_is_all_work():
    assert fit_line([(10, 5)]) == Fit(rate=0.5)
    assert fit_line([(0, 5)]) == Fit(fixed=5)


def test_stored_figures_know_every_stage():
    known = default_calibration()
    assert set(known.fits) == set(known.bytes) == set(known.files) == set(STAGES)
    assert all(known.fits[stage].rate for stage in STAGES if stage not in ("detect", "export"))


def trial_of(run, seconds, per_item, worked=0.0, lasted=()) -> Trial:
    sizes, trainings = Counter(seconds), dict.fromkeys(seconds, np.array(lasted))
    return Trial(run, seconds, dict.fromkeys(seconds, worked), sizes, sizes, per_item, trainings)


def test_photos_of_a_training_take_what_its_steps_took():
    """Epochs of both runs wait for 2 s, so that they take equally long."""
    config = {"train": {"weights": "none", "trunk_epochs": 10}}
    trials = [
        trial_of(run_of([photos], config=config), {"trunk": 30.0}, {"trunk": np.array([0.002])})
        for photos in (64, 256)
    ]
    known = fitted(trials, cores=2)
    assert known.fits["trunk"].rate == pytest.approx(0.002 * 2)
    seen = sum(work_of("trunk", trial.run).weights.sum() for trial in trials) / 2
    assert known.fits["trunk"].fixed == pytest.approx(30 - 0.002 * seen)
    assert known.stored == [stage for stage in STAGES if stage != "trunk"]
    assert known.fits["extract"] == default_calibration().fits["extract"]


def test_start_of_workers_is_no_part_of_the_rate():
    """A photo takes 0.1 s, a worker 1 s for its first task and 3 s or 9 s to start."""
    trials = [
        trial_of(run_of([n, n]), {"extract": start + 1 + 0.1 * n}, {}, worked=2 * (1 + 0.1 * n))
        for n, start in ((10, 3.0), (40, 9.0))
    ]
    known = fitted(trials, cores=2)
    assert known.fits["extract"].rate == pytest.approx(0.1)
    assert known.fits["extract"].fixed == pytest.approx(1 + (3 + 9) / 2)


def test_tasks_that_differ_by_noise_alone_still_have_a_rate():
    trials = [
        trial_of(run_of([n]), {"extract": 9.0}, {}, worked) for n, worked in ((10, 5.0), (40, 4.0))
    ]
    fit = fitted(trials, cores=2).fits["extract"]
    assert (fit.rate, fit.fixed) == pytest.approx((0.1, 9 - 0.1 * 25))


def test_each_training_of_a_worker_has_its_own_start():
    """A worker starts in 20 s; a training takes 5 s besides 1e-6 s for each unit of its work."""
    run, one_core = run_of([20] * 6 + [60] * 6), read_cluster("this", None, 1)
    work = work_of("train", run)
    assert len(work.weights) == 2
    lasted = 5 + 1e-6 * worker_pool("train", work, run.config, one_core).each(work)
    per_item = (lasted - 5) / work.units
    trial = trial_of(run, {"train": 20 + lasted.sum()}, {"train": per_item}, lasted=lasted)
    fit = fitted([trial], cores=1).fits["train"]
    assert (fit.fixed, fit.training, fit.rate) == pytest.approx((20, 5, 1e-6))
    row = row_of("train", run, known_of(train=fit), one_core)
    assert row.seconds == pytest.approx(20 + lasted.sum())


def test_vectors_of_heads_take_what_steps_took_where_there_are_steps():
    run = run_of([40, 40, 10], config={"group": {"edges": (5, 20)}})
    work = work_of("train", run)
    pool = worker_pool("train", work, run.config, read_cluster("this", None, 2))
    assert len(work.weights) == 2
    trial = trial_of(run, {}, {"train": np.array([np.nan, 1e-4])})
    each = 1e-4 * work.units[1] / work.weights[1]
    assert training_rate("train", trial, pool) == pytest.approx(each)
    none = trial_of(run, {}, {"train": np.array([np.nan, np.nan])})
    assert training_rate("train", none, pool) is None
    assert training_rate("extract", none, pool) is None

"""How long each stage takes on this machine, by trials on a few of the photos.

A stage's time is a fixed part, mostly the start of its workers, and a rate. The rate is that of the
time inside tasks or training steps, which two trials of different sizes tell apart from what a
worker does only once. The rest of a trial's time is the fixed part.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel
from scipy.optimize import nnls

from landmark_ray.config import STAGES
from landmark_ray.cost.clusters import WorkerPool, this_machine, worker_pool
from landmark_ray.cost.trial import Trial
from landmark_ray.cost.work import Rates, file_pieces, table_rows, work_of

DEFAULT = Path(__file__).parent / "default_calibration.json"


class Fit(BaseModel):
    """A line: a fixed part, and what each unit adds."""

    fixed: float = 0.0
    rate: float = 0.0
    training: float = 0.0  # what each training adds besides its units


class Calibration(BaseModel):
    """What is known of a machine and of the photos; the keys are stages."""

    about: str  # the machine, the photos and the network
    photos: list[int] = []  # of each trial
    fits: dict[str, Fit]  # seconds, for each unit of work on one core or GPU of this machine
    bytes: dict[str, Fit]  # of the tables, for each unit of `table_rows`
    files: dict[str, float]  # of the tables, for each unit of `file_pieces`
    rates: Rates
    start: float = 0.0  # seconds of a run besides its stages: Python's start, the report
    read_s: float = 0.0  # seconds that reading the source takes for each byte; 0 if it is local
    stored: list[str] = []  # stages that are taken from the default calibration
    noisy: list[str] = []  # stages whose rate is, as they have no tasks, and trials differ by noise


def default_calibration() -> Calibration:
    """Return the figures that come with the code: of another machine and other photos."""
    known = Calibration.model_validate_json(DEFAULT.read_text())
    return known.model_copy(update={"stored": list(STAGES)})


def fitted(trials: Sequence[Trial], cores: int | None) -> Calibration:
    """Return what trials, the largest last, say of each stage.

    Stages that didn't run, and what they would have measured, are those of the default
    calibration. The trials used `cores` cores of this machine; all when None.
    """
    here, known, last = this_machine(cores), default_calibration(), trials[-1]
    measured = last.run.rates.model_dump(exclude_unset=True)
    known.about, known.stored = here.about, []
    known.rates = known.rates.model_copy(update=measured)
    for stage in STAGES:
        times, worked, sizes, rate, training = [], [], [], None, 0.0
        for trial in (t for t in trials if stage in t.seconds):
            work = work_of(stage, trial.run)
            pool = worker_pool(stage, work, trial.run.config, here)
            rate = training_rate(stage, trial, pool)
            lasted = trial.training_seconds.get(stage, np.zeros(0))
            if rate and len(lasted) == len(work.weights):
                training = max(float(np.median(lasted - rate * pool.each(work))), 0.0)
            others = training * pool.rounds(work)
            times.append((pool.busiest(work), trial.seconds[stage] - others))
            worked.append((float(pool.each(work).sum()), trial.task_seconds[stage]))
            sizes.append((table_rows(stage, trial.run), float(trial.bytes[stage])))
        if not times:
            known.stored.append(stage)
            continue
        rate = rate or fit_line(worked).rate or fit_line(worked[-1:]).rate
        fit = fit_line(times, rate)
        if times[-1][0] and not fit.rate and known.fits[stage].rate:
            fit = fit_line(times, known.fits[stage].rate)
            known.noisy.append(stage)
        fit.training = training
        known.fits[stage], known.bytes[stage] = fit, fit_line(sizes)
        known.files[stage] = last.files[stage] / max(file_pieces(stage, last.run), 1)
    return known


def training_rate(stage: str, trial: Trial, pool: WorkerPool) -> float | None:
    """Return the seconds of a unit of work of a stage that trains, by its steps; None if not known.

    Short trainings mostly wait, so that their times alone don't say what an example takes.
    """
    work, per_item = work_of(stage, trial.run), trial.seconds_per_item.get(stage, np.zeros(0))
    known = np.isfinite(per_item)
    if len(per_item) != len(work.weights) or not known.any():
        return None
    return float((per_item * work.units)[known].sum() / pool.each(work)[known].sum())


def fit_line(points: Sequence[tuple[float, float]], rate: float | None = None) -> Fit:
    """Return the line, of a known rate if there is one, that comes nearest to points (x, y).

    Neither part is negative. Of one point alone all is in the rate, where x isn't 0.
    """
    x, y = np.array(points, float).T
    if rate:
        return Fit(fixed=max(float((y - rate * x).mean()), 0.0), rate=rate)
    ones = np.zeros(1) if len(x) == 1 and x[0] else np.ones(len(x))
    (fixed, rate), _ = nnls(np.stack([ones, x], axis=1), y)
    return Fit(fixed=fixed, rate=rate)

"""How long each stage takes on this machine, by two trial runs on a few of the photos.

A stage's time is a fixed part and a rate; two runs of different sizes tell them apart.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import BaseModel
from scipy.optimize import nnls

from landmark_ray.config import STAGES
from landmark_ray.cost.clusters import this_machine, worker_pool
from landmark_ray.cost.sample_source import draw_samples
from landmark_ray.cost.trial_run import Trial, read_trial, run, scaled_down
from landmark_ray.cost.volumes import Rates
from landmark_ray.cost.work import file_pieces, table_rows, work_of
from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from landmark_ray.pipeline import PipelineConfig

DEFAULT = Path(__file__).parent / "default_calibration.json"
SMALLER = 4
"""The first run has this many times fewer photos than the second."""

BUSY = 0.5
"""Load of each core from which on a person is warned."""


class Fit(BaseModel):
    """A line: a fixed part, and what each unit adds."""

    fixed: float = 0.0
    rate: float = 0.0


class Calibration(BaseModel):
    """What is known of a machine and of the photos; the keys are stages."""

    about: str  # the machine, the photos and the network
    photos: list[int] = []  # of each trial run
    fits: dict[str, Fit]  # seconds, for each unit of work on one core or GPU of this machine
    bytes: dict[str, Fit]  # of the tables, for each unit of `table_rows`
    files: dict[str, float]  # of the tables, for each unit of `file_pieces`
    rates: Rates
    start: float = 0.0  # seconds of a run besides its stages: Python's start, the report
    read_s: float = 0.0  # seconds that reading the source takes for each byte; 0 if it is local
    stored: list[str] = []  # stages that are taken from the default calibration
    noisy: list[str] = []  # stages whose rate is, as the two runs differ by noise alone


def default_calibration() -> Calibration:
    """The figures that come with the code, measured on another machine and other photos."""
    known = Calibration.model_validate_json(DEFAULT.read_text())
    return known.model_copy(update={"stored": list(STAGES)})


def calibrate(
    config: PipelineConfig,
    source: Source,
    catalog: pa.Table,
    *,
    photos: int,
    read_bytes: float,
    scratch: str | None,
) -> Calibration:
    """Run the stages, up to the last one that is planned, twice on a few photos.

    Args:
        config: options of the run that is planned.
        source: the dataset.
        catalog: the photos that the run would read.
        photos: of the larger one of the two runs.
        read_bytes: archives of so many bytes in all are read, to have all photos of some landmarks.
        scratch: folder for the runs; the system's when not given.

    Raises:
        UserError: not even the first stage ran, or the source can't be read.
    """
    load = os.getloadavg()[0]
    if load > BUSY * (os.cpu_count() or 1):
        print(
            f"calibration: warning: this machine has other work (load {load:.1f}): stages take "
            "longer meanwhile, and so does the plan",
            file=sys.stderr,
        )
    stages = STAGES[: STAGES.index(config.to) + 1]
    most = min(photos, catalog.num_rows)
    sizes = [max(most // SMALLER, 1), most]
    archives = sum(archive.size for archive in source.archives())
    whole = not source.csv or archives <= read_bytes
    trials, extra = [], []
    with tempfile.TemporaryDirectory(prefix="landmark-plan-", dir=scratch) as folder:
        samples = draw_samples(source, catalog, Path(folder), sizes, whole, config.seed)
        for sample in samples:
            print(f"calibrating on {sample.photos:,} photos", file=sys.stderr)
            small = scaled_down(config, sample, catalog.num_rows)
            seconds, error = run(small, stages)
            if not Path(f"{small.root}/catalog").exists():
                raise UserError(f"the calibration failed: {error or 'its process died'}")
            if error:
                print(f"calibration: warning: {error}", file=sys.stderr)
            trials.append(read_trial(small))
            extra.append(seconds - sum(trials[-1].seconds.values()))
    known = fitted(trials, config.cluster.cpus)
    known.photos = [sample.photos for sample in samples]
    known.start, known.read_s = float(np.mean(extra)), samples[-1].read_s
    if not whole:
        default = default_calibration().rates
        known.rates = default.model_copy(update={"usable": known.rates.usable})
    return known


def fitted(trials: Sequence[Trial], cores: int | None) -> Calibration:
    """What trial runs say of each stage; of those that didn't run, the default calibration.

    Args:
        trials: the largest is the last.
        cores: of this machine that they used; all when not given.
    """
    here, known, last = this_machine(cores), default_calibration(), trials[-1]
    known.about, known.rates, known.stored = here.about, last.run.rates, []
    for stage in STAGES:
        times, sizes, rate = [], [], None
        for trial in (t for t in trials if stage in t.seconds):
            work = work_of(stage, trial.run)
            pool = worker_pool(stage, work, trial.run.config, here)
            times.append((pool.busiest(work), trial.seconds[stage]))
            sizes.append((table_rows(stage, trial.run), float(trial.bytes[stage])))
            rate = trial.training_rate(stage, pool)
        if not times:
            known.stored.append(stage)
            continue
        fit = fit_fixed(times, rate) if rate else fit_line(times)
        if times[-1][0] and not fit.rate and known.fits[stage].rate:
            fit = fit_fixed(times, known.fits[stage].rate)
            known.noisy.append(stage)
        known.fits[stage], known.bytes[stage] = fit, fit_line(sizes)
        known.files[stage] = last.files[stage] / max(file_pieces(stage, last.run), 1)
    return known


def fit_line(points: Sequence[tuple[float, float]]) -> Fit:
    """The line that comes nearest to points (x, y), neither part negative.

    Of one point alone all is in the rate, where x isn't 0.
    """
    x, y = np.array(points, float).T
    ones = np.zeros(1) if len(x) == 1 and x[0] else np.ones(len(x))
    (fixed, rate), _ = nnls(np.stack([ones, x], axis=1), y)
    return Fit(fixed=fixed, rate=rate)


def fit_fixed(points: Sequence[tuple[float, float]], rate: float) -> Fit:
    """The line of a known rate that comes nearest to points (x, y), with no negative part."""
    x, y = np.array(points, float).T
    return Fit(fixed=max(float((y - rate * x).mean()), 0.0), rate=rate)

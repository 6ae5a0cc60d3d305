"""The pipeline on a few of the photos, twice: what each stage takes on this machine.

Both runs are whole: a process of its own, Ray's start, each stage to its end, in a temporary root.
A stage's time is a fixed part and a rate; two runs of different size tell them apart.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from landmark_ray import pipeline
from landmark_ray.config import STAGES, Config
from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from landmark_ray.plan import sampling
from landmark_ray.plan.clusters import this_machine
from landmark_ray.plan.fit import Fit, at_rate, line
from landmark_ray.plan.machines import crew_of
from landmark_ray.plan.observed import Observed, observe
from landmark_ray.plan.options import PlanConfig
from landmark_ray.plan.shares import Shares
from landmark_ray.plan.work import amount_of, pieces_of
from landmark_ray.plan.workload import Workload

STORED = Path(__file__).parent / "stored.json"
SMALLER = 4
"""The first run has so many times fewer photos."""

BUSY = 0.5
"""Load of a core from which on the plan warns."""

CLEANS_UP_S = 20.0
"""A run that is interrupted stops its Ray meanwhile."""

CUT_EPOCHS = 2
"""Of networks that learn from photos; `small`, whose epochs take seconds, has its own number."""


class Calibration(BaseModel):
    """What is known of a machine and of the photos.

    Attributes:
        about: machine, photos, network.
        photos: of the runs.
        seconds: that the calibration took.
        fits: of each stage: seconds.
        bytes: of each stage: fixed, and for each of its amount.
        files: of each stage, for each of its pieces.
        shares: of the photos.
        start: seconds of a run besides its stages: Python's start, the report.
        read_s: seconds a byte that reading the source takes; 0 where it is local.
        stored: stages that are taken from the stored figures.
        noisy: stages of which only the rate is, as it drowned in the noise of short runs.
        stored_about: where those come from.
    """

    about: str
    photos: list[int] = []
    seconds: float = 0.0
    fits: dict[str, Fit]
    bytes: dict[str, Fit]
    files: dict[str, float]
    shares: Shares
    start: float = 0.0
    read_s: float = 0.0
    stored: list[str] = []
    noisy: list[str] = []
    stored_about: str = ""


def stored() -> Calibration:
    """The figures that come with the code."""
    found = Calibration.model_validate_json(STORED.read_text())
    return found.model_copy(update={"stored": list(STAGES), "stored_about": found.about})


def calibrate(config: PlanConfig, source: Source, catalog: pa.Table, data: Workload) -> Calibration:
    """Run the pipeline on a few photos of a source, and see.

    Raises:
        UserError: not even the first stages ran; and what `Source` raises.
    """
    begun, load = time.monotonic(), os.getloadavg()[0]
    if load > BUSY * (os.cpu_count() or 1):
        print(
            f"calibration: warning: this machine has other work (load {load:.1f}): stages take "
            "longer meanwhile, and so does the plan",
            file=sys.stderr,
        )
    most = min(config.plan.sample, data.images)
    sizes = [max(most // SMALLER, 1), most]
    with tempfile.TemporaryDirectory(prefix="landmark-plan-", dir=config.plan.scratch) as folder:
        sources = [Path(folder) / f"source-{i}" for i in range(len(sizes))]
        wanted = dict(zip(sources, sizes, strict=True))
        copied = sampling.copy(source, catalog, wanted, config.plan.read_gb * 1e9, config.seed)
        runs, extra = [], []
        for path, sample in copied.items():
            print(f"calibrating on {sample.photos:,} photos", file=sys.stderr)
            small = in_small(config, path, sample, data.images)
            seconds, problem = run(small, STAGES[: STAGES.index(config.to) + 1])
            if not Path(f"{small.root}/catalog").exists():
                raise UserError(f"the calibration failed: {problem or 'its process died'}")
            if problem:
                print(f"calibration: warning: {problem}", file=sys.stderr)
            runs.append(observe(small))
            extra.append(seconds - sum(runs[-1].seconds.values()))
        found = fitted(runs, config)
        sample = copied[sources[-1]]
        found.photos = [s.photos for s in copied.values()]
    found.start, found.read_s = float(np.mean(extra)), sample.read_s
    if not sample.whole:
        found.shares = stored().shares.model_copy(update={"usable": found.shares.usable})
    found.seconds = time.monotonic() - begun
    return completed(found)


def in_small(config: PlanConfig, source: Path, sample: sampling.Sample, images: int) -> PlanConfig:
    """The options for a run on a sample: the same, but for what follows the number of photos."""
    root = f"{source}-root"
    epochs = (
        {}
        if config.train.network == "small"
        else {
            name: min(getattr(config.train, name), CUT_EPOCHS)
            for name in ("trunk_epochs", "epochs")
        }
    )
    edges = config.group.edges
    verdicts = () if sample.whole else (verdicts_of(source),)
    changes: dict[str, dict[str, Any]] = {
        "sample": {"buckets": max(round(config.sample.buckets * sample.photos / images), 1)},
        "group": {  # few trainings, and many photos that `evaluate` judges
            "edges": tuple(sorted({edges[0], edges[len(edges) // 2]})),
            "validation_first": 0.5,
            "validation_last": 0.5,
        },
        "train": {**epochs, "retries": 0},
        "clean": {"verdicts": verdicts},
        "export": {"to": ""},
        **{stage: {"max_rejected": 1.0} for stage in ("ingest", "extract", "detect", "resize")},
    }
    sections = {n: getattr(config, n).model_copy(update=c) for n, c in changes.items()}
    return config.model_copy(update={"source": str(source), "root": root, "redo": None, **sections})


def verdicts_of(source: Path) -> str:
    """A list that keeps all photos: unrelated ones would not reach the later stages."""
    path = source / "verdicts.csv"
    lines = (source / "train.csv").read_text().splitlines()[1:]
    rows = [f"keep,{line.split(',')[0]},," for line in lines]
    path.write_text("\n".join(["verdict,image_id,landmark_id,reason", *rows]) + "\n")
    return str(path)


def run(config: Config, stages: tuple[str, ...]) -> tuple[float, str]:
    """Run stages in a process of their own; its seconds, and the error that ended it, if any."""
    context = multiprocessing.get_context("spawn")
    problems = context.SimpleQueue()
    process = context.Process(target=_run, args=(config, stages, problems))
    begun = time.monotonic()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until `_run` can take it
    process.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        process.join()
    except KeyboardInterrupt:
        process.join(CLEANS_UP_S)  # Ctrl-C reached it, too; a second signal would disturb it
        raise
    finally:
        _end(process)
    seconds = time.monotonic() - begun
    return seconds, "" if problems.empty() else problems.get()


def _end(process: BaseProcess) -> None:
    """End a process that still runs, and wait."""
    if process.is_alive():
        process.terminate()
        process.join(CLEANS_UP_S)
        process.kill()


def _run(config: Config, stages: tuple[str, ...], problems: Any) -> None:
    """In the process: on a Ray of this machine's, whatever cluster there is."""
    os.environ.pop("RAY_ADDRESS", None)
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            pipeline.run(config, stages)
        except UserError as error:
            problems.put(str(error))
        except KeyboardInterrupt:
            sys.exit(130)


def fitted(runs: list[Observed], config: PlanConfig) -> Calibration:
    """What two runs say of each stage."""
    here, spare = this_machine(config.cluster.cpus), stored()
    last = runs[-1]
    found = Calibration(about=here.about, fits={}, bytes={}, files={}, shares=last.job.shares)
    for stage in STAGES:
        times, sizes = [], []
        for one in (r for r in runs if stage in r.seconds):
            work = one.work(stage)
            crew = crew_of(stage, work, one.job.config, here)
            times.append((crew.rounds(work), crew.busiest(work), one.seconds[stage]))
            sizes.append((1.0, amount_of(stage, one.job), one.bytes.get(stage, 0)))
        if times:
            found.fits[stage], found.bytes[stage] = line(times), line(sizes)
            # Short trainings mostly wait: a line would not see what an example takes.
            if rate := last.rate(stage, crew):
                found.fits[stage] = at_rate(times, rate)
            if times[-1][1] and not found.fits[stage].rate and spare.fits[stage].rate:
                found.fits[stage] = at_rate(times, spare.fits[stage].rate)
                found.noisy.append(stage)
            found.files[stage] = last.files.get(stage, 0) / max(pieces_of(stage, last.job), 1)
    return found


def completed(found: Calibration) -> Calibration:
    """With the stored figures of the stages that didn't run."""
    spare = stored()
    missing = [stage for stage in STAGES if stage not in found.fits]
    for stage in missing:
        found.fits[stage] = spare.fits[stage]
        found.bytes[stage] = spare.bytes[stage]
        found.files[stage] = spare.files[stage]
    return found.model_copy(update={"stored": missing, "stored_about": spare.about})

"""A run's time, disk space and dollars before it starts, from train.csv and some of its photos."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from landmark_ray.config import STAGES
from landmark_ray.config.base import Share, StageConfig
from landmark_ray.cost.calibration import Calibration, default_calibration, fitted
from landmark_ray.cost.clusters import read_cluster
from landmark_ray.cost.forecast import forecast, show
from landmark_ray.cost.trial import draw_samples, read_trial, run_stages, scaled_down
from landmark_ray.cost.work import expected_run
from landmark_ray.cost.workload import read_workload
from landmark_ray.data import deletion
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store, split_uri
from landmark_ray.errors import UserError
from landmark_ray.pipeline import PipelineConfig

KEYS = ("cluster", "calibration")
"""The first keys of the JSON file; a file without them is no forecast."""

SMALLER = 4
"""The first trial has this many times fewer photos than the second."""

BUSY = 0.5
"""Load of each core from which on a person is warned."""


class CostOptions(StageConfig):
    """How the forecast is made, and for which machines."""

    cluster: str = Field(
        "this", description="this machine as it is, or a cluster of the file: desktop, ..."
    )
    clusters: str | None = Field(
        None, description="toml file with clusters, instead of landmark_ray/cost/clusters.toml"
    )
    sample: int = Field(
        384,
        ge=0,
        description="photos to calibrate on; 0: use stored figures of another machine",
    )
    read_gb: float = Field(
        1.0,
        ge=0,
        description="if the tars have at most so many GB, they are read, to calibrate on whole "
        "landmarks; otherwise only the beginning is read",
    )
    unverified: Share | None = Field(
        None,
        description="share of the photos that match no other photo of their landmark; measured "
        "where whole landmarks are read, else that of the stored figures",
    )
    tests: int | None = Field(
        None, ge=0, description="photos of the test set; by its solution when not given"
    )
    scratch: str | None = Field(
        None, description="folder for the calibration's tables; the system's when not given"
    )
    output: str | None = Field(None, description="JSON file for the forecast")


class CostConfig(PipelineConfig):
    """Options of jobs/plan.py: those of the run that it is about, and its own."""

    plan: CostOptions = CostOptions()


def run(config: CostConfig) -> None:
    """Calibrate, forecast, and show the result.

    Raises:
        UserError: A person can solve the problem.
    """
    options = config.plan
    if not config.source:
        raise UserError("--source is missing: a folder or URI with the raw dataset")
    if config.redo:
        raise UserError("--redo: a plan is for a run from the beginning; see --from")
    stages = config.chosen()
    check_output(options.output)
    cluster = read_cluster(options.cluster, options.clusters, config.cluster.cpus)
    source = Source(config.source)
    data, catalog = read_workload(config, source, options.tests)
    known = calibrate(config, source, catalog) if options.sample else default_calibration()
    if options.unverified is not None:
        known.rates.unverified = options.unverified
    planned = expected_run(config, data, known.rates)
    found = forecast(planned, known, cluster, stages)
    show(planned, found, known, cluster)
    if options.output:
        values = (cluster.model_dump(), known.model_dump())
        folder, name = output_place(options.output)
        folder.write_json(name, dict(zip(KEYS, values, strict=True)) | found.to_json())


def calibrate(config: CostConfig, source: Source, catalog: pa.Table) -> Calibration:
    """Run the stages, up to the last one that is planned, twice on a few photos of the catalog.

    The photos are of landmarks that are large enough to be learned, not of strangers.

    Raises:
        UserError: Not even the first stage ran, or the source can't be read.
    """
    options, load = config.plan, os.getloadavg()[0]
    if load > BUSY * (os.cpu_count() or 1):
        print(
            f"calibration: warning: this machine has other work (load {load:.1f}): stages take "
            "longer meanwhile, and so does the plan",
            file=sys.stderr,
        )
    photos = catalog["landmark_id"].value_counts()
    least = min(config.sample.min_images, config.sample.max_images)  # of those that are chosen
    large = pc.greater_equal(photos.field("counts"), least)
    learned = photos.field("values").filter(large)
    catalog = catalog.filter(pc.is_in(catalog["landmark_id"], learned))
    most = min(options.sample, catalog.num_rows)
    sizes = [max(most // SMALLER, 1), most]
    archives = sum(archive.size for archive in source.archives())
    whole = not source.csv or archives <= options.read_gb * 1e9
    trials, extra = [], []
    with tempfile.TemporaryDirectory(prefix="landmark-plan-", dir=options.scratch) as folder:
        samples = draw_samples(source, catalog, Path(folder), sizes, whole, config.seed)
        for sample in samples:
            print(f"calibrating on {sample.photos:,} photos", file=sys.stderr)
            small = scaled_down(config, sample, catalog.num_rows)
            seconds, error = run_stages(small, STAGES[: STAGES.index(config.to) + 1])
            if not Path(f"{small.root}/catalog").exists():
                raise UserError(f"the calibration failed: {error}")
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


def output_place(output: str) -> tuple[Store, str]:
    """Return the folder and the name of a file."""
    folder, name = split_uri(output)
    return Store(folder), name


def check_output(output: str | None) -> None:
    """Make sure that the file isn't there, or is an older forecast.

    Raises:
        UserError: Another file is there.
    """
    if not output:
        return
    folder, name = output_place(output)
    found = deletion.list_entries(folder, name)
    if not found and not folder.exists(name):
        return
    try:
        value = folder.read_json(name) if found == [deletion.Entry(name, True)] else None
    except (UserError, OSError):
        value = None
    if not (isinstance(value, dict) and set(KEYS) <= set(value)):
        raise UserError(f"--plan.output: {output} is there, and is no plan: choose another name")

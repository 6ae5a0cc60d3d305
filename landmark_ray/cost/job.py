"""A run's time, disk space and dollars before it starts, from train.csv and some of its photos."""

import json

from pydantic import Field

from landmark_ray.config.base import Share, StageConfig
from landmark_ray.cost import forecast
from landmark_ray.cost.calibration import calibrate, default_calibration
from landmark_ray.cost.clusters import read_cluster
from landmark_ray.cost.volumes import read_workload
from landmark_ray.cost.work import PlannedRun
from landmark_ray.data import deletion
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.pipeline import PipelineConfig

KEYS = ("cluster", "calibration")
"""The first keys of the JSON file; a file without them is no forecast."""


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
        UserError: anything that a person can mend.
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
    known = default_calibration()
    if options.sample:
        known = calibrate(
            config,
            source,
            catalog,
            photos=options.sample,
            read_bytes=options.read_gb * 1e9,
            scratch=options.scratch,
        )
    if options.unverified is not None:
        known.rates.unverified = options.unverified
    planned = PlannedRun.of(config, data, known.rates)
    found = forecast.forecast(planned, known, cluster, stages)
    forecast.show(planned, found, known, cluster)
    if options.output:
        values = (cluster.model_dump(), known.model_dump())
        value = dict(zip(KEYS, values, strict=True)) | found.to_json()
        folder, name = output_place(options.output)
        folder.write(name, json.dumps(value, indent=1).encode())


def output_place(output: str) -> tuple[Store, str]:
    """The folder and the name of a file."""
    folder, _, name = output.rpartition("/")
    return Store(folder or "."), name


def check_output(output: str | None) -> None:
    """Make sure that the file isn't there, or is an older forecast.

    Raises:
        UserError: another file is there.
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

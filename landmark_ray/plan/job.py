"""A run's hours, disk, requests and dollars before it, from train.csv and a few of its photos."""

import json

from landmark_ray.data import deletion
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.plan import calibration, report, workload
from landmark_ray.plan.clusters import Cluster, cluster_of
from landmark_ray.plan.forecast import forecast
from landmark_ray.plan.options import PlanConfig
from landmark_ray.plan.work import Job

KEYS = ("cluster", "calibration")
"""The first of the file; a file without them is no plan."""


def run(config: PlanConfig) -> None:
    """Calibrate, forecast, show.

    Raises:
        UserError: anything that a person can mend.
    """
    if not config.source:
        raise UserError("--source is missing: a folder or URI with the raw dataset")
    if config.redo:
        raise UserError("--redo: a plan is for a run from the beginning; see --from")
    stages = config.chosen()
    check(config.plan.output)
    cluster = stored_at(config, cluster_of(config))
    source = Source(config.source)
    data, catalog = workload.read(config, source, config.plan.tests)
    if config.plan.sample:
        known = calibration.calibrate(config, source, catalog, data)
    else:
        known = calibration.stored()
    if config.plan.unverified is not None:
        shares = known.shares.model_copy(update={"unverified": config.plan.unverified})
        known = known.model_copy(update={"shares": shares})
    job = Job.of(config, data, known.shares)
    found = forecast(job, known, cluster, stages)
    report.show(job, found, known, cluster)
    if config.plan.output:
        values = (cluster.model_dump(), known.model_dump())
        value = dict(zip(KEYS, values, strict=True)) | found.to_json()
        folder, name = place_of(config.plan.output)
        folder.write(name, json.dumps(value, indent=1).encode())


def place_of(output: str) -> tuple[Store, str]:
    """Folder and name of a file."""
    folder, _, name = output.rpartition("/")
    return Store(folder or "."), name


def check(output: str) -> None:
    """Make sure that the file isn't there, or is a plan.

    Raises:
        UserError: another file is there.
    """
    if not output:
        return
    folder, name = place_of(output)
    found = deletion.lying(folder, name)
    if not found and not folder.exists(name):
        return
    try:
        value = folder.read_json(name) if found == [deletion.Entry(name, True)] else None
    except (UserError, OSError):
        value = None
    if not (isinstance(value, dict) and set(KEYS) <= set(value)):
        raise UserError(f"--plan.output: {output} is there, and is no plan: choose another name")


def stored_at(config: PlanConfig, cluster: Cluster) -> Cluster:
    """The cluster, with an object store where the root is on one."""
    if config.root and not Store(config.root).local and not cluster.object_store:
        return cluster.model_copy(update={"object_store": True})
    return cluster

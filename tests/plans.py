"""Runs, clusters and calibrations for tests of jobs/plan.py."""

import numpy as np

from landmark_ray.config import STAGES
from landmark_ray.cost.calibration import Calibration, Fit
from landmark_ray.cost.clusters import Cluster, read_cluster
from landmark_ray.cost.job import CostConfig
from landmark_ray.cost.work import Rates, Run, expected_run
from landmark_ray.cost.workload import Workload

PLAIN = Rates(usable=1.0, unverified=0.0, tries=2.0)


def data_of(sizes, shard=None, archives=(10,), **more) -> Workload:
    ids = np.arange(len(sizes))
    shard = ids if shard is None else np.array(shard)
    return Workload(sum(sizes), ids, np.array(sizes), shard, np.array(archives), **more)


def run_of(sizes, rates=PLAIN, **more) -> Run:
    config = CostConfig(**more.pop("config", {}))
    return expected_run(config, data_of(sizes, **more), rates)


def cluster_of(name: str = "this") -> Cluster:
    return read_cluster(name, None, None)


def known_of(**fits) -> Calibration:
    return Calibration(
        about="a test",
        fits={stage: fits.get(stage, Fit()) for stage in STAGES},
        bytes={stage: Fit() for stage in STAGES},
        files=dict.fromkeys(STAGES, 1.0),
        rates=PLAIN,
    )

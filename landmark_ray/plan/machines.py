"""How a stage's work is dealt to the workers of some machines."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from landmark_ray.config import Config
from landmark_ray.plan.clusters import Cluster, Machines
from landmark_ray.plan.fit import makespan
from landmark_ray.plan.work import Work

CLASSIFIERS = ("trunk", "embed", "train", "finetune", "evaluate")
"""Stages that share the options `train`."""

WHOLE = ("trunk", "finetune")
"""Stages whose trainings share all cores of their machine; a head takes one."""


@dataclass(frozen=True)
class Crew:
    """Workers of a stage.

    Attributes:
        machines: theirs.
        count: of them.
        speed: of each, in cores of the machine that calibrated.
        networks: of each, for networks.
        gpus: of each; 0 where it works on cores.
    """

    machines: Machines
    count: int
    speed: float
    networks: float
    gpus: float = 0.0

    def rounds(self, work: Work) -> int:
        """Workers that start one after another: one, but for trainings."""
        return math.ceil(len(work.weights) / self.count) if work.trainings else 1

    def busiest(self, work: Work) -> float:
        """Work of the busiest worker, as a core of the machine that calibrated would have it."""
        return makespan(self.each(work), self.count)

    def all(self, work: Work) -> float:
        """Work of all of them."""
        return float(self.each(work).sum())

    def each(self, work: Work) -> np.ndarray:
        """[N] of each piece, on one of them."""
        share = np.asarray(work.networks)
        return work.weights * ((1 - share) / self.speed + share / self.networks)


def crew_of(stage: str, work: Work, config: Config, cluster: Cluster) -> Crew:
    """The workers that a stage has on a cluster."""
    options: Any = config.train if stage in CLASSIFIERS else getattr(config, stage)
    cpus = getattr(options, "cpus", 1.0)
    gpus = getattr(options, "gpus", None)
    most = getattr(options, "parallel_groups", None) if work.trainings else None
    on_gpus = bool(np.any(work.networks)) and gpus != 0
    machines = cluster.kind(gpus=on_gpus)
    if on_gpus and machines.gpus:
        count = max(int(machines.count * machines.gpus / (gpus or 1)), 1)
        networks = machines.gpu_cores * (gpus or 1)
        return Crew(machines, min(count, most or count), machines.core_speed, networks, gpus or 1)
    count = max(int(machines.count * machines.cores / cpus), 1)
    count = min(count, most or count)
    speed = networks = machines.core_speed
    if stage in WHOLE:
        count = min(count, max(len(work.weights), 1))
        networks *= max(machines.cores // math.ceil(count / machines.count), 1)
    elif np.any(work.networks):
        networks *= max(cpus, 1)
    return Crew(machines, count, speed, networks)

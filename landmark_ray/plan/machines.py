"""How a stage's work is dealt to the workers of some machines."""

import math
from dataclasses import dataclass
from typing import Any

from landmark_ray.config import Config
from landmark_ray.plan.clusters import Cluster, Machines
from landmark_ray.plan.fit import makespan
from landmark_ray.plan.work import Work

NETWORKS = ("trunk", "embed", "finetune", "evaluate")
"""Stages that a GPU makes faster. The heads of `train` are too small to gain."""


@dataclass(frozen=True)
class Crew:
    """Workers of a stage.

    Attributes:
        machines: theirs.
        count: of them.
        speed: of each, in cores of the machine that calibrated.
        gpus: of each; 0 where it works on cores.
    """

    machines: Machines
    count: int
    speed: float
    gpus: float = 0.0

    def rounds(self, work: Work) -> int:
        """Workers that start one after another: one, but for trainings."""
        return math.ceil(len(work.weights) / self.count) if work.trainings else 1

    def busiest(self, work: Work) -> float:
        """Work of the busiest worker, as a core of the machine that calibrated would have it."""
        return makespan(work.weights, self.count) / self.speed


def crew_of(stage: str, work: Work, config: Config, cluster: Cluster) -> Crew:
    """The workers that a stage has on a cluster."""
    options: Any = {
        "trunk": config.train,
        "embed": config.train,
        "finetune": config.train,
        "evaluate": config.train,
    }.get(stage) or getattr(config, stage, None)
    networks = stage in NETWORKS
    networks |= stage == "extract" and config.extract.extractor == "delf"
    networks |= stage == "detect" and bool(config.detect.handle)
    wanted = getattr(options, "gpus", None)
    if (networks or stage == "train") and wanted != 0:
        machines = cluster.kind(gpus=True)
    else:
        machines = cluster.kind(gpus=False)
    cores = machines.count * machines.cores
    pieces = max(len(work.weights), 1)
    most = getattr(options, "parallel_groups", None) if work.trainings else None
    if machines.gpus and (networks or stage == "train") and wanted != 0:
        gpus = wanted or 1.0
        count = max(int(machines.count * machines.gpus / gpus), 1)
        count = min(count, most or count)
        speed = machines.gpu_cores * gpus if networks else machines.core_speed
        return Crew(machines, count, speed, gpus)
    cpus = getattr(options, "cpus", 1.0)
    count = max(int(cores / cpus), 1)
    if stage in ("trunk", "finetune"):  # a network that learns has all cores of its machine
        count = min(count, most or count, pieces)
        mine = max(machines.cores // -(-count // machines.count), 1)
        return Crew(machines, count, mine * machines.core_speed)
    speed = machines.core_speed * (max(cpus, 1) if networks else 1)
    return Crew(machines, min(count, most or count), speed)

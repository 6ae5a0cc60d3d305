"""The machines that a forecast is for, and the workers that a stage has on them."""

import heapq
import math
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError, field_validator

from landmark_ray.config import Config
from landmark_ray.config.base import StageConfig
from landmark_ray.cost.work import Work
from landmark_ray.cost.workload import Floats
from landmark_ray.errors import UserError

FILE = Path(__file__).parent / "clusters.toml"
NVIDIA = Path("/proc/driver/nvidia/gpus")
"""Holds a folder for each GPU that the driver has found."""

TRAINING = ("train", "finetune")
"""Stages that train each group by itself; --train.parallel_groups limits their workers."""

CLASSIFIERS = ("describe", "trunk", "embed", *TRAINING, "evaluate")
"""Stages that read the section `train` of the options."""

ALL_CORES = ("trunk", "finetune")
"""Stages whose trainings use all cores of a machine; the head of a group uses one."""


class Machines(StageConfig):
    """Machines of one kind; clusters.toml explains the fields."""

    count: int = Field(ge=1)
    cores: int = Field(ge=1)
    core_speed: float = Field(1.0, gt=0)
    gpus: int = Field(0, ge=0)
    gpu_cores: float = Field(80.0, gt=0)
    dollars_hour: float = Field(0.0, ge=0)


class Cluster(StageConfig):
    """A section of clusters.toml."""

    about: str
    machines: tuple[Machines, ...] = Field(min_length=1)
    head_dollars_hour: float = Field(0.0, ge=0)
    start_minutes: float = Field(0.0, ge=0)
    gb_month_dollars: float = Field(0.0, ge=0)

    @field_validator("machines")
    @classmethod
    def _two_kinds_at_most(cls, machines: tuple[Machines, ...]) -> tuple[Machines, ...]:
        if sum(m.gpus > 0 for m in machines) > 1 or sum(not m.gpus for m in machines) > 1:
            raise ValueError("at most one kind of machines with GPUs and one without")
        return machines

    def kind(self, gpus: bool) -> Machines:
        """Return the machines with GPUs, or those without; the others if there are none."""
        fitting = [m for m in self.machines if (m.gpus > 0) == gpus]
        return (fitting or self.machines)[0]


def read_cluster(name: str, file: str | None, cores: int | None) -> Cluster:
    """Return `this` machine with a number of cores, or a cluster of a file, clusters.toml if None.

    Raises:
        UserError: There is no cluster of that name, or the file is wrong.
    """
    if name == "this":
        return this_machine(cores)
    path = Path(file or FILE)
    try:
        clusters = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"--plan.clusters: {path} cannot be read as toml: {error}") from None
    if name not in clusters:
        raise UserError(f"--plan.cluster {name}: there are {', '.join(['this', *clusters])}")
    try:
        return Cluster.model_validate(clusters[name])
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, (name, *problem["loc"])))
        raise UserError(f"--plan.clusters: {path}: {field}: {problem['msg']}") from None


def this_machine(cores: int | None) -> Cluster:
    """Return this machine with a number of its cores, all if None."""
    cores = cores or os.cpu_count() or 1
    gpus = len(list(NVIDIA.iterdir())) if NVIDIA.is_dir() else 0
    about = f"this machine: {cores} cores" + (f", {gpus} GPUs" if gpus else "")
    return Cluster(about=about, machines=(Machines(count=1, cores=cores, gpus=gpus),))


@dataclass(frozen=True)
class WorkerPool:
    """The workers of a stage; a core of the machine that calibrated has the speed 1."""

    machines: Machines
    count: int
    speed: float  # of each worker
    network_speed: float  # of each worker, for what a GPU can do
    gpus: float = 0.0  # of each worker; 0 where it works on cores

    def each(self, work: Work) -> Floats:
        """Return the weight [N] of each piece, divided by the speed of the worker that does it."""
        share = np.asarray(work.gpu_share)
        return work.weights * ((1 - share) / self.speed + share / self.network_speed)

    def busiest(self, work: Work) -> float:
        """Return the work of the busiest worker, as weight for a core of speed 1."""
        return makespan(self.each(work), self.count)

    def rounds(self, work: Work) -> int:
        """Return the largest number of pieces that a worker does, if they take equally long."""
        return math.ceil(len(work.weights) / self.count)


def worker_pool(stage: str, work: Work, config: Config, cluster: Cluster) -> WorkerPool:
    """Return the workers that a stage has on a cluster."""
    options: Any = config.train if stage in CLASSIFIERS else getattr(config, stage, None)
    cpus, gpus = getattr(options, "cpus", 1.0), getattr(options, "gpus", None)
    networks = bool(np.any(work.gpu_share))
    machines = cluster.kind(gpus=networks and gpus != 0)
    on_gpus = networks and gpus != 0 and machines.gpus > 0
    each, have = (gpus or 1, machines.gpus) if on_gpus else (cpus, machines.cores)
    count, speed = max(int(machines.count * have / each), 1), machines.core_speed
    if stage in TRAINING and config.train.parallel_groups:
        count = min(count, config.train.parallel_groups)
    if on_gpus:
        return WorkerPool(machines, count, speed, machines.gpu_cores * each, each)
    if stage in ALL_CORES:
        count = min(count, max(len(work.weights), 1))
        cpus = machines.cores // math.ceil(count / machines.count)
    return WorkerPool(machines, count, speed, speed * max(cpus if networks else 1, 1))


def makespan(weights: Floats, workers: int) -> float:
    """Return the work of the busiest worker; a free one takes the largest piece [N] left."""
    if workers >= len(weights):
        return float(weights.max(initial=0.0))
    busy = [0.0] * workers
    for weight in -np.sort(-weights):
        heapq.heapreplace(busy, busy[0] + float(weight))
    return max(busy)

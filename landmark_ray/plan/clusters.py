"""Machines that a plan is for."""

import os
import tomllib
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from landmark_ray.config.base import StageConfig
from landmark_ray.errors import UserError
from landmark_ray.plan.options import PlanConfig

FILE = Path(__file__).parent / "clusters.toml"
NVIDIA = Path("/proc/driver/nvidia/gpus")
"""A folder for each GPU that the driver has found."""


class Machines(StageConfig):
    """Machines of one kind."""

    count: int = Field(ge=1)
    cores: int = Field(ge=1)
    core_speed: float = Field(1.0, gt=0)
    gpus: int = Field(0, ge=0)
    gpu_cores: float = Field(80.0, gt=0)
    dollars_hour: float = Field(0.0, ge=0)

    @property
    def speed(self) -> float:
        """Cores of the machine that calibrated, which all their cores are worth."""
        return self.count * self.cores * self.core_speed


class Cluster(StageConfig):
    """A section of clusters.toml."""

    about: str
    machines: tuple[Machines, ...] = Field(min_length=1)
    head_dollars_hour: float = Field(0.0, ge=0)
    start_minutes: float = Field(0.0, ge=0)
    object_store: bool = False
    put_dollars: float = Field(0.0, ge=0)
    get_dollars: float = Field(0.0, ge=0)
    gb_month_dollars: float = Field(0.0, ge=0)

    @field_validator("machines")
    @classmethod
    def _two_kinds_at_most(cls, machines: tuple[Machines, ...]) -> tuple[Machines, ...]:
        if sum(m.gpus > 0 for m in machines) > 1 or sum(not m.gpus for m in machines) > 1:
            raise ValueError("at most one kind of machines with GPUs and one without")
        return machines

    def kind(self, gpus: bool) -> Machines:
        """The machines with GPUs, or those without; the others where there are none."""
        fitting = [m for m in self.machines if (m.gpus > 0) == gpus]
        return (fitting or self.machines)[0]


def cluster_of(config: PlanConfig) -> Cluster:
    """The cluster that the options name.

    Raises:
        UserError: there is none of that name, or the file is wrong.
    """
    options = config.plan
    if options.cluster == "this":
        return this_machine(config.cluster.cpus)
    path = Path(options.clusters or FILE)
    try:
        found = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"--plan.clusters: {path} cannot be read as toml: {error}") from None
    if options.cluster not in found:
        names = ", ".join(["this", *found])
        raise UserError(f"--plan.cluster {options.cluster}: there are {names}")
    try:
        return Cluster.model_validate(found[options.cluster])
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(map(str, (options.cluster, *problem["loc"])))
        raise UserError(f"--plan.clusters: {path}: {name}: {problem['msg']}") from None


def this_machine(cores: int | None) -> Cluster:
    """This machine, with so many cores or all."""
    cores = cores or os.cpu_count() or 1
    gpus = len(list(NVIDIA.iterdir())) if NVIDIA.is_dir() else 0
    name = f"this machine: {cores} cores" + (f", {gpus} GPUs" if gpus else "")
    return Cluster(about=name, machines=(Machines(count=1, cores=cores, gpus=gpus),))

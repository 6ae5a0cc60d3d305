"""What a task or a worker takes of a machine: its cores and its memory, and no thread more."""

import functools
import os
from dataclasses import dataclass
from typing import Any

import cv2
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy
from threadpoolctl import threadpool_limits

from landmark_ray.config import Config
from landmark_ray.config.base import Options
from landmark_ray.errors import UserError
from landmark_ray.runtime.ray_start import start_ray


@dataclass(frozen=True)
class Workers:
    """Workers that hold a model.

    Attributes:
        count: of them.
        gpus: of each.
        cpus: cores of each.
        memory: of each in bytes; 0: none is kept.
    """

    count: int
    gpus: float
    cpus: float
    memory: int = 0

    @property
    def each(self) -> dict[str, float]:
        """What Ray keeps for each."""
        kept = {"memory": self.memory} if self.memory else {}
        return {"CPU": self.cpus, "GPU": self.gpus, **kept}

    @property
    def pool(self) -> dict[str, Any]:
        """How `Dataset.map` takes them."""
        kept = {"memory": self.memory} if self.memory else {}
        size = ActorPoolStrategy(size=self.count)
        return {"compute": size, "num_gpus": self.gpus, "num_cpus": self.cpus, **kept}


def task_resources(config: Config, stage: str) -> dict[str, Any]:
    """The resources that Ray keeps for a task of a stage.

    Raises:
        UserError: the cluster has less in all; Ray would wait for ever.
    """
    requested = getattr(config, stage)
    check(f"--{stage}.", requested)
    memory = {"memory": int(requested.memory_gb * 1e9)} if requested.memory_gb else {}
    return {"num_cpus": requested.cpus, **memory}


def plan_workers(config: Options, section: str, requested: Any) -> Workers:
    """Workers that hold a model, for what the cluster has.

    A tenth of the cores is left to other tasks: workers that take all would starve them for ever.

    Args:
        config: for Ray.
        section: of the options, such as "train.", for the error.
        requested: of each: `cpus` where it has no GPU; `gpus`, when None 1 where there are any;
            `memory_gb`.

    Raises:
        UserError: there are fewer GPUs, or less of all else.
    """
    start_ray(config)
    check(f"--{section}", requested)
    have = ray.cluster_resources()
    gpus = float(have.get("GPU", 0) >= 1) if requested.gpus is None else requested.gpus
    if gpus > have.get("GPU", 0):
        raise UserError(
            f"--{section}gpus {gpus:g}: the cluster has {have.get('GPU', 0):g} GPUs; "
            "leave it out to use what there is"
        )
    each = 0.5 if gpus else 0.9 * requested.cpus
    count = int(have["GPU"] / gpus if gpus else 0.9 * have["CPU"] / each)
    memory = int((requested.memory_gb or 0) * 1e9)
    if memory:
        count = min(count, int(have.get("memory", 0) / memory))
    return Workers(max(count, 1), gpus, each, memory)


def check(section: str, requested: Any) -> None:
    """Compare what a task or worker may take with what there is.

    Args:
        section: of the options, such as "--train.", for the error.
        requested: options with `cpus` and `memory_gb`.

    Raises:
        UserError: the cluster has less in all.
    """
    if os.environ.get("RAY_ADDRESS"):
        return  # larger machines may come when they are asked for
    have = ray.cluster_resources()
    for option, kind, unit in (("cpus", "CPU", 1), ("memory_gb", "memory", 1e9)):
        value, there = getattr(requested, option) or 0, have.get(kind, 0) / unit
        if value > there:
            raise UserError(
                f"{section}{option} {value:g}: Ray has {there:.3g} here; "
                "leave it out to use what there is"
            )


def pin_threads() -> int:
    """In a task: give native libraries as many threads as it has cores, one at least.

    Returns:
        How many.
    """
    if not ray.is_initialized() or ray.get_runtime_context().worker.mode != ray.WORKER_MODE:
        return 1
    cores = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    threads = max(round(cores), 1)
    _pin(threads)
    return threads


@functools.lru_cache(maxsize=1)
def _pin(threads: int) -> None:
    cv2.setNumThreads(threads)
    pa.set_cpu_count(threads)
    threadpool_limits(threads)


def pin_tensorflow(threads: int | None = None) -> None:
    """Before TensorFlow is imported in a worker without a GPU: so many threads, or its cores'."""
    count = str(threads or pin_threads())
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = count

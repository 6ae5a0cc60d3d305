"""What a task or a worker takes of a machine: its cores and its memory, and no thread more."""

import functools
import os
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy
from threadpoolctl import threadpool_limits

from landmark_ray.errors import UserError


class Wishes(Protocol):
    """Options that say what each task of a stage may take."""

    @property
    def cpus(self) -> float:
        """Cores."""

    @property
    def memory_gb(self) -> float | None:
        """Memory that Ray keeps for it."""


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
    def pool(self) -> dict[str, Any]:
        """How `Dataset.map` takes them."""
        kept = {"memory": self.memory} if self.memory else {}
        size = ActorPoolStrategy(size=self.count)
        return {"compute": size, "num_gpus": self.gpus, "num_cpus": self.cpus, **kept}


def needs(wishes: Wishes) -> dict[str, Any]:
    """The resources that Ray keeps for a task.

    Raises:
        UserError: this machine has less, and there is no other; Ray would wait for ever.
    """
    wanted = {"CPU": wishes.cpus, "memory": (wishes.memory_gb or 0) * 1e9}
    if not os.environ.get("RAY_ADDRESS"):
        have = ray.cluster_resources()
        if wanted["CPU"] > have.get("CPU", 0):
            raise UserError(f"cpus {wishes.cpus:g}: Ray has {have.get('CPU', 0):g} cores here")
        if wanted["memory"] > have.get("memory", 0):
            gb = have.get("memory", 0) / 1e9
            raise UserError(f"memory_gb {wishes.memory_gb:g}: Ray has {gb:.1f} GB here")
    kept = {"memory": int(wanted["memory"])} if wanted["memory"] else {}
    return {"num_cpus": wishes.cpus, **kept}


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

"""The cores, GPUs, memory and threads that a task or a worker uses."""

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

GPU_CALLS = 2
"""Units that a worker with a GPU has in hand: it reads and commits one while another computes."""


@dataclass(frozen=True)
class Workers:
    """A pool of workers that hold a model.

    Attributes:
        count: Number of workers.
        gpus: GPUs of each worker.
        cpus: Cores of each worker.
        memory: Bytes that are reserved for each worker; none when 0.
        calls: Number of units that a worker has in hand at a time, each in a thread of its own.
    """

    count: int
    gpus: float
    cpus: float
    memory: int = 0
    calls: int = 1

    @property
    def resources(self) -> dict[str, float]:
        """Return the resources that Ray reserves for each worker."""
        reserved = {"memory": self.memory} if self.memory else {}
        return {"CPU": self.cpus, "GPU": self.gpus, **reserved}

    @property
    def pool(self) -> dict[str, Any]:
        """Return the arguments of `Dataset.map` for these workers."""
        reserved = {"memory": self.memory} if self.memory else {}
        pool = ActorPoolStrategy(
            size=self.count,
            max_concurrent_calls_per_actor=self.calls,
            enable_true_multi_threading=self.calls > 1,
        )
        return {"compute": pool, "num_gpus": self.gpus, "num_cpus": self.cpus, **reserved}


def task_resources(config: Config, stage: str) -> dict[str, Any]:
    """Return the resources of a task of a stage, as arguments of `Dataset.map`.

    Raises:
        UserError: The whole cluster has less, so that Ray would wait forever.
    """
    requested = getattr(config, stage)
    check(f"--{stage}.", requested)
    memory = {"memory": int(requested.memory_gb * 1e9)} if requested.memory_gb else {}
    return {"num_cpus": requested.cpus, **memory}


def plan_workers(
    config: Options, section: str, requested: Any, *, overlap: bool = False, trains: bool = True
) -> Workers:
    """Return as many workers that hold a model as the cluster has room for, at least one.

    A tenth of the cores is left to other tasks, which would starve if the workers took all.

    Args:
        config: The options that Ray is started with.
        section: The section of the options, such as "train.", for errors.
        requested: Options of a worker: `cpus` (used if it has no GPU), `gpus` (if None: one, if the
            cluster has GPUs) and `memory_gb`.
        overlap: Whether workers on GPUs have `GPU_CALLS` units in hand, which the rule must allow.
        trains: Whether a worker can use several GPUs; if not, it gets one at most.

    Raises:
        UserError: This machine has fewer GPUs, or too few cores or too little memory for one
            worker. On a cluster nothing is checked.
    """
    start_ray(config)
    check(f"--{section}", requested)
    have = ray.cluster_resources()
    gpus = float(have.get("GPU", 0) >= 1) if requested.gpus is None else requested.gpus
    if gpus > have.get("GPU", 0) and not _may_grow():
        raise UserError(
            f"--{section}gpus {gpus:g}: this machine has {have.get('GPU', 0):g} GPUs; "
            "leave this option out to use those"
        )
    gpus = gpus if trains else min(gpus, 1.0)
    cpus = 0.5 if gpus else 0.9 * requested.cpus
    count = int(have.get("GPU", 0) / gpus if gpus else 0.9 * have["CPU"] / cpus)
    memory = int((requested.memory_gb or 0) * 1e9)
    if memory:
        count = min(count, int(have.get("memory", 0) / memory))
    return Workers(max(count, 1), gpus, cpus, memory, GPU_CALLS if gpus and overlap else 1)


def check(section: str, requested: Any) -> None:
    """Make sure that this machine has the resources that a task or worker requests.

    Args:
        section: The section of the options, such as "--train.", for errors.
        requested: Options with `cpus` and `memory_gb`.

    Raises:
        UserError: It has less. On a cluster nothing is checked.
    """
    if _may_grow():
        return
    have = ray.cluster_resources()
    for option, kind, unit in (("cpus", "CPU", 1), ("memory_gb", "memory", 1e9)):
        value, available = getattr(requested, option) or 0, have.get(kind, 0) / unit
        if value > available:
            raise UserError(
                f"{section}{option} {value:g}: Ray has {available:.3g} on this machine; "
                "leave this option out, or lower it"
            )


def _may_grow() -> bool:
    """Return whether Ray is that of a cluster, whose autoscaler may add machines on request."""
    return bool(os.environ.get("RAY_ADDRESS"))


def pin_threads() -> int:
    """Limit the threads of native libraries in a task to the number of its cores, at least one.

    Returns:
        The number of threads; 1 outside of a task, where nothing is limited.
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
    """Limit the threads of TensorFlow in a worker without a GPU, before it is imported.

    Args:
        threads: The number of threads; that of the worker's cores when None.
    """
    count = str(threads or pin_threads())
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = count

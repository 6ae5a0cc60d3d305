"""The actor that assigns trainings to workers, and reports their progress to the driver."""

import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import cast

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from landmark_ray.runtime.progress import ProgressBar


class ProgressActor:
    """Assigns the trainings of a stage to its workers, and knows the progress of each."""

    def __init__(self, groups: Sequence[int]) -> None:
        """Take the numbers of the groups, in the order in which they are assigned."""
        self.waiting = deque(groups)
        self.running: dict[str, int] = {}
        self.shares: dict[int, float] = {}

    def take(self, worker: str) -> int | None:
        """Return the unfinished group of a worker, or assign the next one; None if none waits."""
        if worker not in self.running and self.waiting:
            self.running[worker] = self.waiting.popleft()
        return self.running.get(worker)

    def finish(self, worker: str) -> None:
        """Note that a worker has finished its group."""
        self.shares[self.running.pop(worker)] = 1.0

    def stop(self) -> None:
        """Assign no more groups."""
        self.waiting.clear()

    def current(self, worker: str) -> int | None:
        """Return the unfinished group of a worker, or None."""
        return self.running.get(worker)

    def report(self, group: int, share: float) -> None:
        """Note the progress of a training, 0 to 1; it falls when a worker is replaced."""
        self.shares[group] = share

    def progress(self) -> dict[int, float]:
        """Return the progress of each group that began, 0 to 1."""
        return self.shares


@contextlib.contextmanager
def tracked(
    progress_bar: ProgressBar, sizes: dict[int, int], groups: Sequence[int]
) -> Iterator["ActorHandle[ProgressActor]"]:
    """Start the actor that assigns groups, and show the progress of all groups on a bar.

    The actor runs on the node of the driver, because a loss of the actor would end all trainings.

    Args:
        progress_bar: The bar, which counts images.
        sizes: Group -> number of its images.
        groups: The groups in the order in which they are assigned.
    """
    this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote = ray.remote(ProgressActor).options(num_cpus=0, scheduling_strategy=this_node)
    actor = cast("ActorHandle[ProgressActor]", remote.remote(groups))
    ended = threading.Event()
    before = progress_bar.done

    def follow() -> None:
        while not ended.wait(0.5):
            shares = cast(dict[int, float], ray.get(actor.progress.remote()))
            now = before + int(sum(sizes[group] * share for group, share in shares.items()))
            progress_bar.add(max(now - progress_bar.done, 0))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield actor
    finally:
        ended.set()
        thread.join()
    progress_bar.add(before + sum(sizes.values()) - progress_bar.done)

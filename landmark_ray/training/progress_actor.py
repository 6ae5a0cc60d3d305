"""The actor that hands out trainings to workers, and tells the driver how far each one is."""

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
    """Hands out the trainings of a stage to its workers, and knows how far each one is."""

    def __init__(self, groups: Sequence[int]) -> None:
        """groups: their numbers, in the order in which they begin."""
        self.waiting = deque(groups)
        self.running: dict[str, int] = {}
        self.shares: dict[int, float] = {}

    def take(self, worker: str) -> int | None:
        """Return the group that a worker has begun, else the next one; None when all have begun."""
        if worker not in self.running and self.waiting:
            self.running[worker] = self.waiting.popleft()
        return self.running.get(worker)

    def finish(self, worker: str) -> None:
        """Note that a worker has stored what it trained."""
        self.shares[self.running.pop(worker)] = 1.0

    def stop(self) -> None:
        """Hand out no more groups."""
        self.waiting.clear()

    def current(self, worker: str) -> int | None:
        """Return the group that a worker has begun."""
        return self.running.get(worker)

    def report(self, group: int, share: float) -> None:
        """Note how far a training is, from 0 to 1; a replaced worker's goes back a little."""
        self.shares[group] = share

    def progress(self) -> dict[int, float]:
        """Return how far each group is."""
        return self.shares


@contextlib.contextmanager
def tracked(
    progress_bar: ProgressBar, sizes: dict[int, int], groups: Sequence[int]
) -> Iterator["ActorHandle[ProgressActor]"]:
    """Start the actor that hands out groups; let a progress bar follow it.

    The actor lives with the driver: were it lost with another node, all trainings would be.

    Args:
        progress_bar: counts images.
        sizes: images of each group.
        groups: the groups in the order in which they begin.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote = ray.remote(ProgressActor).options(num_cpus=0, scheduling_strategy=here)
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

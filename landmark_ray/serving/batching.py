"""Dynamic batching: the items that arrive while a batch is computed make up the next batch.

Batches are full under load, and a single item never waits for others. `serve.batch` closes a batch
when its waiting time is over, even while the batch before is still computed: without a waiting time
each request would be a batch of its own, and with one a single request would wait for nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Batcher(Generic[T, U]):
    """Calls a function of several items for callers that have one item each."""

    def __init__(self, compute: Callable[[Sequence[T]], Sequence[U]], max_batch: int) -> None:
        """Take the function, which runs in a thread, one call at a time.

        Args:
            compute: Returns one result for each item, in order.
            max_batch: Number of items in a call, at most.
        """
        self._compute, self._max_batch = compute, max_batch
        self._queue: deque[tuple[T, asyncio.Future[U]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> U:
        """Return the result of `compute` for an item.

        Raises:
            Exception: The error that `compute` raised for the item's batch.
        """
        future: asyncio.Future[U] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._queue:
            count = min(self._max_batch, len(self._queue))
            taken = [self._queue.popleft() for _ in range(count)]
            batch = [(item, future) for item, future in taken if not future.done()]
            if not batch:  # all callers have given up
                continue
            try:
                results = await asyncio.to_thread(self._compute, [item for item, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

"""Batches of what is asked while the last batch is computed: full ones under load, and no wait.

`serve.batch` closes a batch when its time is over, whether or not the one before is done: without a
wait each request would be a batch of its own, and with one a lonely request would wait for nobody.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Batcher(Generic[T, U]):
    """A function of several items, asked for one at a time."""

    def __init__(self, compute: Callable[[Sequence[T]], Sequence[U]], most: int) -> None:
        """compute: runs in a thread, once at a time, on `most` items at most."""
        self._compute, self._most = compute, most
        self._waiting: deque[tuple[T, asyncio.Future[U]]] = deque()
        self._work: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> U:
        """What `compute` makes of an item.

        Raises:
            Exception: that `compute` raised for its batch.
        """
        future: asyncio.Future[U] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            batch = [(item, future) for item, future in taken if not future.done()]
            if not batch:  # all have given up
                continue
            try:
                found = await asyncio.to_thread(self._compute, [item for item, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), value in zip(batch, found, strict=True):
                if not future.done():
                    future.set_result(value)

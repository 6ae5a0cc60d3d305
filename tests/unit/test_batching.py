import asyncio
import threading

import pytest

from landmark_ray.serving.batching import Batcher


class Doubler:
    """Doubles numbers, and waits for `go` first; remembers the batches."""

    def __init__(self):
        self.batches, self.begun, self.go = [], threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, items):
        self.batches.append(list(items))
        self.begun.release()
        self.go.acquire()
        if -1 in items:
            raise ValueError("no -1")
        return [2 * item for item in items]


def run(test):
    """Run a coroutine that gets a doubler and its batcher of up to 3."""
    doubler = Doubler()
    return asyncio.run(asyncio.wait_for(test(doubler, Batcher(doubler, 3)), 10))


async def begun(doubler):
    await asyncio.to_thread(doubler.begun.acquire)


def test_what_comes_while_a_batch_is_computed_makes_the_next_ones():
    async def test(doubler, batcher):
        first = asyncio.create_task(batcher(0))
        await begun(doubler)
        others = [asyncio.create_task(batcher(i)) for i in range(1, 6)]
        await asyncio.sleep(0.01)
        for _ in range(3):
            doubler.go.release()
        assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8, 10]
        assert doubler.batches == [[0], [1, 2, 3], [4, 5]]

    run(test)


def test_a_lonely_item_waits_for_nobody():
    async def test(doubler, batcher):
        for i in range(3):
            doubler.go.release()
            assert await batcher(i) == 2 * i
        assert doubler.batches == [[0], [1], [2]]

    run(test)


def test_an_error_reaches_its_batch_and_no_other():
    async def test(doubler, batcher):
        first = asyncio.create_task(batcher(-1))
        await begun(doubler)
        second = asyncio.create_task(batcher(2))
        await asyncio.sleep(0.01)
        doubler.go.release()
        doubler.go.release()
        with pytest.raises(ValueError, match="no -1"):
            await first
        assert await second == 4

    run(test)


def test_who_gives_up_is_not_computed():
    async def test(doubler, batcher):
        first = asyncio.create_task(batcher(1))
        await begun(doubler)
        gone, stays = asyncio.create_task(batcher(2)), asyncio.create_task(batcher(3))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0.01)
        doubler.go.release()
        doubler.go.release()
        assert await asyncio.gather(first, stays) == [2, 6]
        assert doubler.batches == [[1], [3]]

    run(test)

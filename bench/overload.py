"""The service at twice the rate that it can serve, for a minute; one of its replicas is killed.

Requests come at a fixed rate, whether earlier ones are answered or not, at twice the rate that 8
clients get. In the middle a replica of the models gets SIGKILL. Answers must have status 200 or 429
alone, memory must stay flat, and the queue bounds the latency of those that are served.

    python bench/overload.py [--smoke | --large]

2 minutes, 4 GB of memory. `--large` loads the service for 5 minutes.
"""

import asyncio
import os
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from bundles import RESNETS, TINY, Models, pictures, random_bundle
from common import Figure, in_own_process, report, run
from services import ENVIRONMENT, Service, free_port, our_command, running

QUEUE = 16
"""Photos that the service lets wait."""

MOST = 512
"""Requests without an answer at once; with more the generator waits."""

PATIENCE_S = 120.0
SLICES = 10
"""Parts of the run whose figures are compared."""

JPEG = {"Content-Type": "image/jpeg"}

FIGURES = {
    "p99": Figure(
        "requests at twice the load that the service can serve: latency of 99% of those served",
        "the time for a full queue",
        most=3,
        quoted=False,
    ),
    "other": Figure(
        "requests at twice the load that the service can serve, a replica killed: answers that are "
        "neither 200 nor 429",
        most=0,
    ),
    "growth": Figure(
        "memory at the end of this load", "memory at its beginning", most=1.1, quoted=False
    ),
    "served": Figure("requests served under this load", quoted=False),
    "shed": Figure("requests answered 429 under this load", quoted=False),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        models: that are served.
        seconds: of the load.
    """

    models: Models
    seconds: float


@dataclass
class Run:
    """What came of the requests.

    Attributes:
        answers: when each was sent (seconds from the beginning), its status and its latency.
        memory: (seconds, GB) of the service.
        killed: when the replica was.
    """

    answers: list[tuple[float, int, float]] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    killed: float = 0.0

    async def ask(
        self, session: aiohttp.ClientSession, url: str, photo: bytes, begun: float
    ) -> None:
        """Send a photo, and note what came of it; 0 stands for a connection that broke."""
        sent, status = time.monotonic(), 0
        try:
            async with session.post(f"{url}/predict", data=photo, headers=JPEG) as answer:
                await answer.read()
                status = answer.status
        except aiohttp.ClientError as error:
            print(f"  {error!r}", file=sys.stderr)
        self.answers.append((sent - begun, status, time.monotonic() - sent))

    def served(self, first: float, last: float) -> list[float]:
        """Latencies of the requests with an answer that were sent in between, in seconds."""
        return [s for sent, status, s in self.answers if status == 200 and first <= sent < last]


async def sustainable(url: str, photos: list[bytes], seconds: float) -> float:
    """Requests/s that 8 clients get, one after the other."""
    run, begun = Run(), time.monotonic()

    async def client(session: aiohttp.ClientSession, number: int) -> None:
        while time.monotonic() < begun + seconds:
            await run.ask(session, url, photos[number % len(photos)], begun)
            number += 8

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(session, number) for number in range(8)))
    return len(run.answers) / seconds


async def overload(service: Service, photos: list[bytes], rate: float, seconds: float) -> Run:
    """Requests at a rate."""
    run, begun, killed = Run(), time.monotonic(), False
    every = seconds / SLICES / 4
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        waiting: set[asyncio.Task[None]] = set()
        number = 0
        while (now := time.monotonic() - begun) < seconds:
            if len(run.memory) <= now / every:
                run.memory.append((now, service.held()))
            if now > seconds / 2 and not killed:
                killed, run.killed = True, now
                kill(service)
            while number < now * rate and len(waiting) < MOST:
                photo = photos[number % len(photos)]
                task = asyncio.create_task(run.ask(session, service.url, photo, begun))
                waiting.add(task)
                task.add_done_callback(waiting.discard)
                number += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*waiting)
    return run


def kill(service: Service) -> None:
    """SIGKILL for a replica of the models."""
    for process in service.process.children(recursive=True):
        if "ServeReplica:landmark_ray:models" in " ".join(process.cmdline()):
            process.kill()
            return
    raise RuntimeError("no replica of the models")


def rows_of(run: Run, seconds: float) -> list[tuple[str, float, float, float, float]]:
    """The run's slices: their name, sent/s, served/s, p50 ms, GB."""
    step = seconds / SLICES
    rows = []
    for part in range(SLICES):
        first, last = part * step, (part + 1) * step
        taken = run.served(first, last) or [0.0]
        sent = sum(first <= at < last for at, _, _ in run.answers)
        memory = max(gb for at, gb in run.memory if at < last)
        name = f"{first:.0f}-{last:.0f} s" + (" (kill)" if first <= run.killed < last else "")
        rows.append((name, sent / step, len(taken) / step, 1e3 * statistics.median(taken), memory))
    return rows


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Serve, load, and look at the answers."""
    os.environ.update(ENVIRONMENT)
    photos, seconds = pictures(size.models)[:50], size.seconds
    in_own_process(random_bundle, folder / "bundle", size.models, True)
    port = free_port()
    command = our_command(folder / "bundle", port, "f32", "--queue", str(QUEUE), "--replicas", "2")
    with running(command, port, folder) as service:
        able = asyncio.run(sustainable(service.url, photos, min(20, seconds / 10)))
        load = asyncio.run(overload(service, photos, 2 * able, seconds))
        if not service.process.is_running():
            raise RuntimeError("the service ended")
    rows = rows_of(load, seconds)
    report(
        f"Twice the {able:.1f} requests/s that the service can",
        ["", "sent/s", "served/s", "p50 ms", "GB"],
        rows,
    )
    statuses = Counter(status for _, status, _ in load.answers)
    print(dict(statuses), file=sys.stderr)
    step = seconds / SLICES
    calm = load.served(step, load.killed) + load.served(load.killed + step, seconds)
    return {
        "p99": statistics.quantiles(calm, n=100, method="inclusive")[-1] / (QUEUE / able),
        "other": len(load.answers) - statuses[200] - statuses[429],
        "growth": rows[-1][4] / rows[1][4],
        "served": statuses[200],
        "shed": statuses[429],
    }


if __name__ == "__main__":
    run(measure, FIGURES, full=Size(RESNETS, 60), large=Size(RESNETS, 300), smoke=Size(TINY, 3))

"""The service at twice the rate that it can serve, for minutes; one of its replicas is killed.

Requests come at a fixed rate, whether earlier ones are answered or not, at twice the rate that 8
clients get. In the middle a replica of the models gets SIGKILL. To expect: answers with status 200
or 429 alone, flat memory, and a latency of the served ones that the queue bounds.

    python bench/overload.py [--seconds 600]

12 minutes, 4 GB of memory.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from bundles import pictures, random_bundle
from common import finish, report
from services import ENVIRONMENT, Service, free_port, our_command, running

QUEUE = 16
"""Photos that the service lets wait."""

MOST = 512
"""Requests without an answer at once; with more the generator waits."""

PATIENCE_S = 120.0
SLICES = 10
"""Parts of the run whose figures are compared."""

GROWTH = 1.1
"""Memory of the last slice against the second, at most."""

JPEG = {"Content-Type": "image/jpeg"}


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
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        waiting: set[asyncio.Task[None]] = set()
        number = 0
        while (now := time.monotonic() - begun) < seconds:
            if len(run.memory) <= now / 5:
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


def main() -> None:
    """Measure, print, and end with what `finish` says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    seconds = parser.parse_args().seconds
    os.environ.update(ENVIRONMENT)
    photos = pictures(50)
    with tempfile.TemporaryDirectory(prefix="bench-overload-") as folder:
        bundle = Path(folder) / "bundle"
        random_bundle(bundle, shared=True)
        port = free_port()
        command = our_command(bundle, port, "f32", "--queue", str(QUEUE), "--replicas", "2")
        with running(command, port, Path(folder)) as service:
            able = asyncio.run(sustainable(service.url, photos, min(20, seconds / 10)))
            run = asyncio.run(overload(service, photos, 2 * able, seconds))
            alive = service.process.is_running()
    step = seconds / SLICES
    rows: list[tuple[str, float, float, float, float]] = []
    for part in range(SLICES):
        first, last = part * step, (part + 1) * step
        taken = run.served(first, last) or [0.0]
        sent = sum(first <= at < last for at, _, _ in run.answers)
        memory = max(gb for at, gb in run.memory if first <= at < last)
        name = f"{first:.0f}-{last:.0f} s" + (" (kill)" if first <= run.killed < last else "")
        rows.append((name, sent / step, len(taken) / step, 1e3 * statistics.median(taken), memory))
    report(
        f"Twice the {able:.1f} requests/s that the service can",
        ["", "sent/s", "served/s", "p50 ms", "GB"],
        rows,
    )
    statuses = Counter(status for _, status, _ in run.answers)
    print(json.dumps({str(status): count for status, count in statuses.items()}), file=sys.stderr)
    calm = sorted(run.served(step, run.killed)) + sorted(run.served(run.killed + step, seconds))
    figures = {
        "requests": len(run.answers),
        "served": statuses[200],
        "shed": statuses[429],
        "other": len(run.answers) - statuses[200] - statuses[429],
        "p50_ms": 1e3 * statistics.median(calm),
        "p99_ms": 1e3 * statistics.quantiles(calm, n=100)[-1],
        "bound_ms": 3e3 * QUEUE / able,
        "memory_growth": rows[-1][4] / rows[1][4],
    }
    met = (
        alive
        and not figures["other"]
        and figures["p99_ms"] <= figures["bound_ms"]
        and figures["memory_growth"] <= GROWTH
    )
    finish(figures, met)


if __name__ == "__main__":
    main()

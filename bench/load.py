"""Load for a service: so many clients, each of which sends a photo when it has its last answer.

    python bench/load.py URL FOLDER --clients 8 --seconds 20 --most 400

sends the files in FOLDER in the order of their names, over and over, and prints JSON: latencies and
rate, both after a warm-up, and the answers. It ends with status 1 where a request fails.
"""

import argparse
import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE_S = 120.0
"""A request fails when it takes longer."""


@dataclass
class Load:
    """A run, and what came of it.

    Attributes:
        url: to post to.
        bodies: JPEG files.
        clients: requests in flight at any time.
        seconds: no request is sent later.
        most: requests, at most.
        warmup: seconds at the beginning that no figure counts.
        drain: seconds at the end to wait for answers, which no figure counts either.
        start: number of the first body that is sent.
    """

    url: str
    bodies: list[bytes]
    clients: int
    seconds: float
    most: int
    warmup: float
    drain: float
    start: int
    sent: int = 0
    begun: float = 0.0
    closed: float = 0.0
    ends: list[tuple[float, float]] = field(default_factory=list)
    answers: dict[int, list[int]] = field(default_factory=dict)

    async def run(self) -> None:
        """Send all requests.

        Raises:
            RuntimeError: one wasn't answered with status 200.
        """
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        connector = aiohttp.TCPConnector(limit=self.clients)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            self.begun = time.monotonic()
            clients = [asyncio.create_task(self._client(session)) for _ in range(self.clients)]
            done, late = await asyncio.wait(clients, timeout=self.seconds + self.drain)
            self.closed = min(self.closed or time.monotonic(), self.begun + self.seconds)
            for client in late:
                client.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for client in done:
            client.result()

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while self.sent < self.most and time.monotonic() < self.begun + self.seconds:
            number = (self.start + self.sent) % len(self.bodies)
            self.sent += 1
            began = time.monotonic()
            headers = {"Content-Type": "image/jpeg"}
            async with session.post(self.url, data=self.bodies[number], headers=headers) as answer:
                text = await answer.text()
                if answer.status != 200:
                    raise RuntimeError(f"{self.url} answers {answer.status}: {text[:200]}")
            end = time.monotonic()
            self.ends.append((end, end - began))
            landmark = landmark_of(json.loads(text))
            if landmark is not None:
                self.answers.setdefault(number, []).append(landmark)
        self.closed = self.closed or time.monotonic()

    def figures(self) -> dict[str, Any]:
        """The run in numbers: of the answers from the warm-up's end until no more were sent."""
        warm = [end for end, _ in self.ends if end <= self.begun + self.warmup]
        since = warm[-1] if warm else self.ends[0][0]
        counted = [(end, taken) for end, taken in self.ends if since < end <= self.closed]
        if len(counted) < 2:
            raise RuntimeError(f"{self.url}: {len(counted)} answers in {self.seconds} s")
        taken = [taken for _, taken in counted]
        return {
            "p50_ms": 1e3 * statistics.median(taken),
            "p95_ms": 1e3 * statistics.quantiles(taken, n=20, method="inclusive")[-1],
            "rate": len(counted) / (counted[-1][0] - since),
            "requests": len(counted),
            "answers": {number: sorted(set(found)) for number, found in self.answers.items()},
        }


def landmark_of(answer: dict[str, Any]) -> int | None:
    """The surest landmark in an answer of the service or of the Flask app."""
    for photo in answer.get("photos", ()):
        answer = photo["landmarks"][0]
    return answer.get("landmark_id")


def main() -> None:
    """Run, and print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    for name in ("clients", "most", "start"):
        parser.add_argument(f"--{name}", type=int, required=name != "start", default=0)
    for name, seconds in {"seconds": 20, "warmup": 3, "drain": 30}.items():
        parser.add_argument(f"--{name}", type=float, default=seconds)
    given = vars(parser.parse_args())
    bodies = [path.read_bytes() for path in sorted(given.pop("folder").glob("*.jpg"))]
    load = Load(bodies=bodies, **given)
    asyncio.run(load.run())
    print(json.dumps(load.figures()))


if __name__ == "__main__":
    main()

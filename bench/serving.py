"""The service against the reference's Flask app: 11 ResNet50s, JPEGs of about 100 KB, two cores.

Variants of the service are compared with Flask, one after the other: f32; one trunk for all groups
in bf16; with `--large`, also bf16. All but the shared trunk are the same random networks as Flask's
(see `bundles`). Flask and the variant are both up, and are asked in turn, so that both meet the
same machine; the one that is not asked is idle. Both get the same 100 photographs, over and over:
from 1 client for the latency, from 8 and from 32 for the throughput, of which the smaller ratio
counts. Flask has one worker, which 32 clients keep no busier than 8 do, so it is asked by 8 alone.
A measurement lasts for several batches: in f32, a batch of 32 photos takes 6 s.

The answers to all photographs are compared, those of the shared trunk with what jobs/predict.py
says of its bundle. A photo that a side takes for several landmarks counts as wrong. The networks
are such that answers have a margin, as those of trained ones have; bf16 would change more answers
of networks whose best landmarks are nearly equal.

    python bench/serving.py [--smoke | --large]

7 minutes, 8 GB of memory. `--large` has 200 photographs and two rounds: 15 minutes.
"""

import csv
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bundles import RESNETS, TINY, Models, enlarge, pictures, random_bundle
from common import CORES, REPO, Figure, in_own_process, report, run
from services import ENVIRONMENT, Service, flask_command, free_port, our_command, running

from landmark_ray import cli, predict

FLASK_CLIENTS, OUR_CLIENTS = (1, 8), (1, 8, 32)
VARIANTS = {"f32": "f32", "bf16": "bf16", "shared": "bf16"}
"""Bundle and precision of each of our sides."""

NAMES = {"f32": "in f32", "bf16": "in bf16", "shared": "in bf16 with one trunk for all groups"}
MANY_PHOTOS = replace(RESNETS, photos=200, known=180)
LEAST = {"f32": 4.0, "bf16": 7.0, "shared": 40.0}
SAME = {"f32": 1.0, "bf16": 0.99, "shared": 0.99}


def figures_of(name: str) -> dict[str, Figure]:
    """What is measured of one of our sides."""
    service = f"11 ResNet50s served {NAMES[name]}"
    return {
        f"p50_{name}": Figure(
            f"{service}: latency",
            "Flask, which calls `model.predict` 11 times",
            "times as fast",
            least=LEAST[name],
            quoted=name != "bf16",
        ),
        f"throughput_{name}": Figure(
            f"{service}: throughput at 8 and 32 clients, the smaller one",
            "Flask, which calls `model.predict` 11 times",
            "times as high",
            least=LEAST[name],
            quoted=name != "bf16",
        ),
        f"top1_{name}": Figure(
            f"{service}: share of photos with the same answer",
            "`jobs/predict.py`" if name == "shared" else "Flask",
            least=SAME[name],
            quoted=False,
        ),
        f"memory_{name}_gb": Figure(f"{service}: memory", unit="GB", quoted=False),
    }


FIGURES = {key: figure for name in VARIANTS for key, figure in figures_of(name).items()}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        models: that are served.
        variants: our sides.
        rounds: in which each side is asked.
        seconds: of a measurement.
        warmup: seconds of it that no figure counts.
        most: requests of a measurement, at most.
        workers: of jobs/predict.py; each starts TensorFlow.
    """

    models: Models
    variants: tuple[str, ...]
    rounds: int
    seconds: float
    warmup: float
    most: int = 600
    workers: int = CORES


@dataclass
class Side:
    """What was measured of a service.

    Attributes:
        start: seconds until it was ready.
        memory: GB that its processes held under load.
        p50: of a photo, with 1 client, in ms, of each round.
        p95: of the same.
        rates: clients -> requests/s of each round.
        answers: number of a photo -> landmarks that it was taken for, in all rounds.
    """

    start: float = 0.0
    memory: float = 0.0
    p50: list[float] = field(default_factory=list)
    p95: list[float] = field(default_factory=list)
    rates: dict[int, list[float]] = field(default_factory=dict)
    answers: dict[int, set[int]] = field(default_factory=dict)

    def missing(self, photos: int) -> list[int]:
        """Photos without an answer so far."""
        return [number for number in range(photos) if number not in self.answers]

    def speedup(self, flask: "Side") -> float:
        """The ratio of latencies."""
        return statistics.mean(flask.p50) / statistics.mean(self.p50)

    def gain(self, flask: "Side") -> float:
        """The ratio of throughputs, for the number of clients where it is the smallest."""
        ours = min(statistics.mean(self.rates[clients]) for clients in OUR_CLIENTS[1:])
        return ours / statistics.mean(flask.rates[FLASK_CLIENTS[-1]])

    def agreement(self, other: "Side", photos: int) -> float:
        """Share of all photos that both always take for the same landmark."""
        same = (
            len(landmarks) == 1 and landmarks == other.answers.get(number)
            for number, landmarks in self.answers.items()
        )
        return sum(same) / photos


def prepare(models: Models, folder: Path) -> None:
    """Make the photos and two bundles: one of distinct trunks, one of a shared trunk."""
    write_photos(models, folder)
    in_own_process(random_bundles, models, folder)


def write_photos(models: Models, folder: Path) -> None:
    """Write the photos that a service is asked for."""
    (folder / "photos").mkdir()
    sizes = []
    for number, data in enumerate(pictures(models)):
        jpeg = enlarge(data)
        sizes.append(len(jpeg))
        (folder / f"photos/{number:03d}.jpg").write_bytes(jpeg)
    assert len(sizes) == models.photos, f"{len(sizes)} photos"
    print(f"{len(sizes)} photos, median {statistics.median(sizes):,.0f} bytes", file=sys.stderr)


def random_bundles(models: Models, folder: Path) -> None:
    """One with distinct trunks, one with a shared trunk."""
    for name in ("distinct", "shared"):
        random_bundle(folder / name, models, shared=name == "shared")


def load(url: str, folder: Path, **options: float) -> dict[str, Any]:
    """Figures of bench/load.py, which runs in a process of its own."""
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    command = [sys.executable, str(REPO / "bench/load.py"), url, str(folder / "photos"), *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    measured: dict[str, Any] = json.loads(done.stdout)
    print(
        f"  {options}: p50 {measured['p50_ms']:.1f} ms, {measured['rate']:.2f}/s of "
        f"{measured['requests']} requests",
        file=sys.stderr,
    )
    return measured


def predicted(bundle: Path, folder: Path, workers: int) -> Side:
    """What jobs/predict.py takes the photos for."""
    output = folder / "submission.csv"
    options: dict[str, object] = {"--bundle": bundle, "--source": folder / "photos"}
    options |= {"--output": output, "--cpus": CORES / workers}
    words = [str(word) for option in options.items() for word in option]
    predict.run(cli.parse(predict.PredictOptions, words, ""))
    with output.open() as lines:
        rows = [(int(row["id"]), int(row["landmarks"].split()[0])) for row in csv.DictReader(lines)]
    return Side(answers={number: {landmark} for number, landmark in rows})


@dataclass(frozen=True)
class Asked:
    """A service that is up, and what is measured of it."""

    service: Service
    side: Side
    size: Size
    folder: Path

    def ask(self, **options: float) -> dict[str, Any]:
        """Load it, first with the photos that have no answer yet; the figures of bench/load.py."""
        start = min(self.side.missing(self.size.models.photos), default=0)
        url = f"{self.service.url}/predict?top_k=1"
        measured = load(url, self.folder, start=start, **options)
        for number, landmarks in measured["answers"].items():
            self.side.answers.setdefault(int(number), set()).update(landmarks)
        return measured

    def round(self, counts: Sequence[int]) -> None:
        """Ask it once with each number of clients."""
        for clients in counts:
            size = self.size
            measured = self.ask(
                clients=clients, most=size.most, seconds=size.seconds, warmup=size.warmup
            )
            self.side.rates.setdefault(clients, []).append(measured["rate"])
            if clients == 1:
                self.side.p50.append(measured["p50_ms"])
                self.side.p95.append(measured["p95_ms"])
        self.side.memory = max(self.side.memory, self.service.held())

    def finish(self) -> None:
        """Ask for the photos that have no answer yet."""
        while missing := len(self.side.missing(self.size.models.photos)):
            self.ask(clients=1, most=max(missing, 3), seconds=300, warmup=0)


def serve_all(size: Size, folder: Path) -> dict[str, tuple[Side, Side]]:
    """Each of our sides by its name, and Flask as it was in turn with it."""
    prepare(size.models, folder)
    sides: dict[str, tuple[Side, Side]] = {}
    port = free_port()
    answers: dict[int, set[int]] = {}
    with running(flask_command(folder / "distinct", port), port, folder) as reference:
        for name in size.variants:
            ours, flask = Side(), Side(start=reference.start_s, answers=answers)
            bundle = folder / ("shared" if name == "shared" else "distinct")
            port = free_port()
            command = our_command(bundle, port, VARIANTS[name], "--packs", "0")
            with running(command, port, folder) as service:
                ours.start = service.start_s
                theirs = Asked(reference, flask, size, folder)
                mine = Asked(service, ours, size, folder)
                for _ in range(size.rounds):
                    theirs.round(FLASK_CLIENTS)
                    mine.round(OUR_CLIENTS)
                mine.finish()
            sides[name] = ours, flask
        theirs.finish()
    return sides


def show(sides: dict[str, tuple[Side, Side]]) -> None:
    """Print what was measured."""
    columns = ["", "start s", "memory GB", "p50 ms", "p95 ms", *(f"{n}: /s" for n in OUR_CLIENTS)]
    rows: list[list[str | float]] = []
    for name, (ours, flask) in sides.items():
        for label, side in ((name, ours), (f"flask beside {name}", flask)):
            latency = [statistics.mean(side.p50), statistics.mean(side.p95)]
            rates = [statistics.mean(side.rates.get(n, [math.nan])) for n in OUR_CLIENTS]
            rows.append([label, side.start, side.memory, *latency, *rates])
    report("A photo for each request, two cores; requests/s by clients", columns, rows)


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Serve with all sides, and compare them."""
    cpus = os.sched_getaffinity(0)
    os.environ.update(ENVIRONMENT)
    os.sched_setaffinity(0, sorted(cpus)[:CORES])
    try:
        sides = serve_all(size, folder)
        offline = predicted(folder / "shared", folder, size.workers)
    finally:
        os.sched_setaffinity(0, cpus)
    show(sides)
    figures: dict[str, float] = {}
    for name, (ours, flask) in sides.items():
        figures[f"p50_{name}"] = ours.speedup(flask)
        figures[f"throughput_{name}"] = ours.gain(flask)
        wanted = offline if name == "shared" else flask
        figures[f"top1_{name}"] = ours.agreement(wanted, size.models.photos)
        figures[f"memory_{name}_gb"] = ours.memory
    return figures


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(RESNETS, ("f32", "shared"), rounds=1, seconds=20, warmup=2),
        large=Size(MANY_PHOTOS, tuple(VARIANTS), rounds=2, seconds=20, warmup=3),
        smoke=Size(TINY, ("shared",), rounds=1, seconds=60, warmup=0, most=40, workers=1),
        without=lambda size: [
            figure for name in VARIANTS if name not in size.variants for figure in figures_of(name)
        ],
    )

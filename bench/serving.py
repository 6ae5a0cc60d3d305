"""The service against the reference's Flask app: 11 ResNet50s, JPEGs of about 100 KB, two cores.

In turn, never two at once: Flask, ours (f32; bf16; one trunk for all groups in bf16), Flask again.
All but the last of ours have the same random networks (see `bundles`). All get the same 200
photographs, over and over: from 1 client for the latency, from 8 and from 32 for the throughput.
A ratio is against the mean of both runs of Flask; of the two throughputs' ratios the smaller one
counts. The answers to all photographs are compared, those of the shared trunk with what
jobs/predict.py says of its bundle; where a side takes one for now this and now that landmark, it
counts as wrong. The networks are such that answers have a margin, as those of trained ones: of
networks whose answers are all but tied bf16 would change more.

    python bench/serving.py [--smoke]

12 minutes, 6 GB of memory.
"""

import csv
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundles import RESNETS, TINY, Models, enlarge, pictures, random_bundle
from common import CORES, REPO, Figure, in_own_process, report, run
from services import ENVIRONMENT, flask_command, free_port, our_command, running

from landmark_ray import cli, predict

CLIENTS = (1, 8, 32)
MOST = 600
"""Requests of a measurement, at most."""

VARIANTS = {"f32": "f32", "bf16": "bf16", "shared": "bf16"}
"""Bundle and precision of each of our sides."""

NAMES = {"f32": "in f32", "bf16": "in bf16", "shared": "in bf16 with one trunk for all groups"}
LEAST = {"f32": 4.0, "bf16": 7.0, "shared": 40.0}
SAME = {"f32": 1.0, "bf16": 0.99, "shared": 0.99}


def figures_of(name: str) -> dict[str, Figure]:
    """What is measured of one of our sides."""
    service = f"11 ResNet50s served {NAMES[name]}"
    other = "jobs/predict.py" if name == "shared" else "Flask"
    return {
        f"p50_{name}": Figure(
            f"{service} against Flask and `model.predict` in turn: latency",
            "times as fast",
            least=LEAST[name],
            quoted=name != "bf16",
        ),
        f"throughput_{name}": Figure(
            f"{service}: throughput at 8 and 32 clients, the smaller one",
            "times as high",
            least=LEAST[name],
            quoted=name != "bf16",
        ),
        f"top1_{name}": Figure(
            f"{service}: share of 200 photos with the same answer as {other}'s",
            least=SAME[name],
            quoted=False,
        ),
        f"memory_{name}_gb": Figure(f"{service}: memory", "GB", quoted=False),
    }


FIGURES = {key: figure for name in VARIANTS for key, figure in figures_of(name).items()}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        models: that are served.
        variants: our sides.
        again: whether Flask runs a second time.
        seconds: of a measurement.
        warmup: seconds of it that no figure counts.
    """

    models: Models
    variants: tuple[str, ...]
    again: bool
    seconds: float
    warmup: float


@dataclass
class Side:
    """What was measured of a service: of each run one figure.

    Attributes:
        start: seconds until it was ready.
        memory: GB that its processes held under load.
        p50: of a photo, with 1 client, in ms.
        p95: of the same.
        rates: clients -> requests/s.
        answers: number of a photo -> landmarks that it was taken for, in all runs.
    """

    start: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p95: list[float] = field(default_factory=list)
    rates: dict[int, list[float]] = field(default_factory=dict)
    answers: dict[int, set[int]] = field(default_factory=dict)

    def missing(self, photos: int) -> list[int]:
        """Photos without an answer so far."""
        return [number for number in range(photos) if number not in self.answers]

    def speedup(self, before: "Side") -> float:
        """The ratio of latencies."""
        return statistics.mean(before.p50) / statistics.mean(self.p50)

    def gain(self, before: "Side") -> float:
        """The ratio of throughputs, for the number of clients where it is the smallest."""
        ratios = (
            statistics.mean(rates) / statistics.mean(before.rates[clients])
            for clients, rates in self.rates.items()
            if clients > 1
        )
        return min(ratios)

    def agreement(self, other: "Side", photos: int) -> float:
        """Share of all photos that both always take for the same landmark."""
        same = (
            len(landmarks) == 1 and landmarks == other.answers.get(number)
            for number, landmarks in self.answers.items()
        )
        return sum(same) / photos


def prepare(models: Models, folder: Path) -> None:
    """Make the photos and two bundles: one of distinct trunks, one of a shared trunk."""
    (folder / "photos").mkdir()
    sizes = []
    for number, data in enumerate(pictures(models)):
        jpeg = enlarge(data)
        sizes.append(len(jpeg))
        (folder / f"photos/{number:03d}.jpg").write_bytes(jpeg)
    assert len(sizes) == models.photos, f"{len(sizes)} photos"
    print(f"{len(sizes)} photos, median {statistics.median(sizes):,.0f} bytes", file=sys.stderr)
    in_own_process(random_bundles, models, folder)


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


def predicted(bundle: Path, folder: Path) -> Side:
    """What jobs/predict.py takes the photos for."""
    output = folder / "submission.csv"
    options = {"--bundle": bundle, "--source": folder / "photos", "--output": output}
    words = [str(word) for option in options.items() for word in option]
    predict.run(cli.parse(predict.PredictOptions, words, ""))
    with output.open() as lines:
        rows = [(int(row["id"]), int(row["landmarks"].split()[0])) for row in csv.DictReader(lines)]
    return Side(answers={number: {landmark} for number, landmark in rows})


def serve(side: Side, command: list[str], port: int, size: Size, folder: Path, every: bool) -> None:
    """A run of a service from its start to its end.

    Args:
        side: gets the figures.
        command: that starts it.
        port: where it listens.
        size: how long it is asked.
        folder: with the photos.
        every: at the end all photos must have an answer.
    """
    photos = size.models.photos

    def ask(**options: float) -> dict[str, Any]:
        start = min(side.missing(photos), default=0)
        measured = load(f"{service.url}/predict?top_k=1", folder, start=start, **options)
        for number, landmarks in measured["answers"].items():
            side.answers.setdefault(int(number), set()).update(landmarks)
        return measured

    with running(command, port, folder) as service:
        print(f"{' '.join(command)}: ready in {service.start_s:.1f} s", file=sys.stderr)
        side.start.append(service.start_s)
        for clients in CLIENTS:
            last = clients == CLIENTS[-1]
            missing = len(side.missing(photos))
            if last and every and missing:
                ask(clients=1, most=max(missing, 3), seconds=300, warmup=0)
            drain = 0 if last else 30  # at the end nobody waits for what isn't counted
            timing = {"seconds": size.seconds, "warmup": size.warmup, "drain": drain}
            measured = ask(clients=clients, most=MOST, **timing)
            side.rates.setdefault(clients, []).append(measured["rate"])
            if clients == 1:
                side.p50.append(measured["p50_ms"])
                side.p95.append(measured["p95_ms"])
        side.memory.append(service.held())


def serve_all(size: Size, folder: Path) -> dict[str, Side]:
    """All sides by their names."""
    prepare(size.models, folder)
    sides = {name: Side() for name in ("flask", *size.variants)}

    def flask(every: bool) -> None:
        port = free_port()
        serve(sides["flask"], flask_command(folder / "distinct", port), port, size, folder, every)

    flask(every=not size.again)
    for name in size.variants:
        port, bundle = free_port(), folder / ("shared" if name == "shared" else "distinct")
        command = our_command(bundle, port, VARIANTS[name], "--packs", "0")
        serve(sides[name], command, port, size, folder, every=True)
    if size.again:
        flask(every=True)
    return sides


def show(sides: dict[str, Side]) -> None:
    """Print what was measured."""
    columns = ["", "start s", "memory GB", "p50 ms", "p95 ms", *(f"{n} clients/s" for n in CLIENTS)]
    rows: list[list[str | float]] = []
    for name, side in sides.items():
        for number, p50 in enumerate(side.p50):
            rates = [side.rates[clients][number] for clients in CLIENTS]
            label = f"{name}, run {number + 1}"
            rows.append([label, side.start[number], side.memory[number], p50, side.p95[number]])
            rows[-1] += rates
    report("A photo a request, on two cores", columns, rows)


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Serve with all sides, and compare them."""
    cpus = os.sched_getaffinity(0)
    os.environ.update(ENVIRONMENT)
    os.sched_setaffinity(0, sorted(cpus)[:CORES])
    try:
        sides = serve_all(size, folder)
        offline = predicted(folder / "shared", folder)
    finally:
        os.sched_setaffinity(0, cpus)
    show(sides)
    flask, photos = sides["flask"], size.models.photos
    figures: dict[str, float] = {}
    for name in size.variants:
        side = sides[name]
        figures[f"p50_{name}"] = side.speedup(flask)
        figures[f"throughput_{name}"] = side.gain(flask)
        figures[f"top1_{name}"] = side.agreement(offline if name == "shared" else flask, photos)
        figures[f"memory_{name}_gb"] = max(side.memory)
    return figures


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(RESNETS, tuple(VARIANTS), again=True, seconds=20, warmup=3),
        smoke=Size(TINY, ("shared",), again=False, seconds=1.5, warmup=0.2),
        without=[*figures_of("f32"), *figures_of("bf16")],
    )

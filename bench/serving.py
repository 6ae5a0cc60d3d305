"""The service against the reference's Flask app: 11 ResNet50s, JPEGs of about 100 KB, two cores.

In turn, never two at once: Flask, ours (f32; bf16; one trunk for all groups, bf16), Flask again.
All but the last of ours have the same random networks (see `bundles`). All get the same 200
photographs, over and over: from 1 client for the latency, from 8 and from 32 for the throughput.
A ratio is against the mean of both runs of Flask; of the two throughputs' ratios the smaller one
counts. The answers to all photographs are compared, those of the shared trunk with what
jobs/predict.py says of its bundle; where a side takes one for now this and now that landmark, it
counts as wrong.

    python bench/serving.py

11 minutes, 6 GB of memory. Seen: latency 4.3 (f32), 7.7 (bf16) and 40 times (shared trunk) as
short, throughput 4.4, 8.6 and 58 times; the same top-1 as Flask's for all photos (f32), for 199
(bf16). The networks are such that answers have a margin, as those of trained ones (see `bundles`):
of networks whose answers are all but tied bf16 would change more.
"""

import csv
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundles import PHOTOS, pictures
from common import finish, report
from PIL import Image
from services import (
    BENCH,
    CORES,
    ENVIRONMENT,
    Service,
    flask_command,
    free_port,
    noop_command,
    our_command,
    running,
)

from landmark_ray.kernels import image

SIDE, BYTES = 800, 103_000
CLIENTS = (1, 8, 32)
SECONDS, MOST = 20.0, 600
SHARED_PRECISION = "bf16"
LEAST = {
    "p50_f32": 4.0,
    "p50_bf16": 7.0,
    "p50_shared": 40.0,
    "throughput_f32": 4.0,
    "throughput_bf16": 7.0,
    "throughput_shared": 40.0,
    "top1_f32": 1.0,
    "top1_bf16": 0.99,
    "top1_shared": 0.99,
}


@dataclass
class Side:
    """What was measured of a service: of each run one figure.

    Attributes:
        start: seconds until it was ready.
        memory: GB that its processes held under load.
        nothing: p50 of a request that does nothing, in ms.
        p50: of a photo, with 1 client, in ms.
        p95: of the same.
        rates: clients -> requests/s.
        answers: number of a photo -> landmarks that it was taken for, in all runs.
    """

    start: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    nothing: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p95: list[float] = field(default_factory=list)
    rates: dict[int, list[float]] = field(default_factory=dict)
    answers: dict[int, set[int]] = field(default_factory=dict)

    def missing(self) -> list[int]:
        """Photos without an answer so far."""
        return [number for number in range(PHOTOS) if number not in self.answers]

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

    def agreement(self, other: "Side") -> float:
        """Share of all photos that both always take for the same landmark."""
        same = (
            len(found) == 1 and found == other.answers.get(number)
            for number, found in self.answers.items()
        )
        return sum(same) / PHOTOS


def enlarge(data: bytes) -> bytes:
    """A photo as a JPEG of `SIDE` pixels and, as nearly as it can be, of `BYTES` bytes."""
    photo = Image.fromarray(image.decode(data))
    factor = SIDE / max(photo.size)
    size = (max(round(photo.width * factor), 64), max(round(photo.height * factor), 64))
    photo = photo.resize(size, Image.Resampling.LANCZOS)
    low, high = 20, 98
    found = encoded(photo, low)
    while low < high:
        quality = (low + high + 1) // 2
        tried = encoded(photo, quality)
        if len(tried) > BYTES:
            high = quality - 1
        else:
            low, found = quality, tried
    return found


def encoded(photo: Image.Image, quality: int) -> bytes:
    """As JPEG."""
    out = io.BytesIO()
    photo.save(out, "JPEG", quality=quality)
    return out.getvalue()


def prepare(folder: Path) -> tuple[Path, Path]:
    """Make the photos, and two bundles: one of distinct trunks, one of a shared trunk."""
    (folder / "photos").mkdir()
    sizes = []
    for number, data in enumerate(pictures(PHOTOS)):
        jpeg = enlarge(data)
        sizes.append(len(jpeg))
        (folder / f"photos/{number:03d}.jpg").write_bytes(jpeg)
    assert len(sizes) == PHOTOS, f"{len(sizes)} photos"
    print(f"{PHOTOS} photos, median {statistics.median(sizes):,.0f} bytes", file=sys.stderr)
    for name, words in {"distinct": [], "shared": ["--shared"]}.items():
        command = [sys.executable, str(BENCH / "bundles.py"), str(folder / name), *words]
        quiet = {**os.environ, **ENVIRONMENT}
        subprocess.run(command, check=True, capture_output=True, env=quiet)
    return folder / "distinct", folder / "shared"


def load(url: str, folder: Path, **options: float) -> dict[str, Any]:
    """Figures of bench/load.py, which runs in a process of its own."""
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    command = [sys.executable, str(BENCH / "load.py"), url, str(folder / "photos"), *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    found: dict[str, Any] = json.loads(done.stdout)
    print(
        f"  {options}: p50 {found['p50_ms']:.1f} ms, {found['rate']:.2f}/s of "
        f"{found['requests']} requests",
        file=sys.stderr,
    )
    return found


def predicted(bundle: Path, folder: Path) -> Side:
    """What jobs/predict.py takes the photos for."""
    output = folder / "submission.csv"
    options = {"--bundle": bundle, "--source": folder / "photos", "--output": output}
    words = [str(word) for option in options.items() for word in option]
    command = [sys.executable, str(BENCH.parent / "jobs/predict.py"), *words]
    quiet = {**os.environ, **ENVIRONMENT}
    subprocess.run(command, check=True, capture_output=True, env=quiet)
    with output.open() as lines:
        rows = [(int(row["id"]), int(row["landmarks"].split()[0])) for row in csv.DictReader(lines)]
    return Side(answers={number: {landmark} for number, landmark in rows})


def measure(
    side: Side, command: list[str], port: int, folder: Path, *, every: bool, nothing: bool = False
) -> None:
    """A run of a service from its start to its end.

    Args:
        side: gets the figures.
        command: that starts it.
        port: where it listens.
        folder: with the photos.
        every: at the end all photos must have an answer.
        nothing: ask its route that does nothing, too.
    """

    def ask(**options: float) -> dict[str, Any]:
        start = min(side.missing(), default=0)
        found = load(f"{service.url}/predict?top_k=1", folder, start=start, **options)
        for number, landmarks in found["answers"].items():
            side.answers.setdefault(int(number), set()).update(landmarks)
        return found

    with running(command, port, folder) as service:
        print(f"{' '.join(command)}: ready in {service.start_s:.1f} s", file=sys.stderr)
        side.start.append(service.start_s)
        for clients in CLIENTS:
            last = clients == CLIENTS[-1]
            if last and every and side.missing():
                ask(clients=1, most=max(len(side.missing()), 3), seconds=300, warmup=0)
            drain = 0 if last else 30  # at the end nobody waits for what isn't counted
            found = ask(clients=clients, most=MOST, seconds=SECONDS, drain=drain)
            side.rates.setdefault(clients, []).append(found["rate"])
            if clients == 1:
                if nothing:
                    side.nothing.append(idle(service, folder))
                side.p50.append(found["p50_ms"])
                side.p95.append(found["p95_ms"])
        side.memory.append(service.held())


def idle(service: Service, folder: Path) -> float:
    """Ms of a request that does nothing."""
    url, options = (
        f"{service.url}/nothing",
        {"clients": 1, "most": 2_000, "seconds": 10, "warmup": 1},
    )
    return float(load(url, folder, **options)["p50_ms"])


def measure_all(folder: Path) -> dict[str, Side]:
    """All sides by their names, and what Serve costs without us."""
    distinct, shared = prepare(folder)
    sides = {name: Side() for name in ("flask", "f32", "bf16", "shared", "noop")}

    def flask(*, every: bool) -> None:
        port = free_port()
        measure(
            sides["flask"], flask_command(distinct, port), port, folder, every=every, nothing=True
        )

    def ours(name: str, bundle: Path, precision: str) -> None:
        port = free_port()
        command = our_command(bundle, port, precision, "--packs", "0")
        measure(sides[name], command, port, folder, every=True)

    flask(every=False)
    ours("f32", distinct, "f32")
    ours("bf16", distinct, "bf16")
    ours("shared", shared, SHARED_PRECISION)
    port = free_port()
    with running(noop_command(port), port, folder) as service:
        sides["noop"].nothing.append(idle(service, folder))
    flask(every=True)
    sides["predict"] = predicted(shared, folder)
    return sides


def show(sides: dict[str, Side]) -> None:
    """Print what was measured."""
    columns = ["", "start s", "memory GB", "p50 ms", "p95 ms", *(f"{n} clients/s" for n in CLIENTS)]
    rows: list[list[str | float]] = []
    for name in ("flask", "f32", "bf16", "shared"):
        side = sides[name]
        for run, p50 in enumerate(side.p50):
            label = f"Flask, run {run + 1}" if name == "flask" else f"ours, {name}"
            rates = [side.rates[clients][run] for clients in CLIENTS]
            rows.append([label, side.start[run], side.memory[run], p50, side.p95[run], *rates])
    report("11 ResNet50s on two cores, a photo a request", columns, rows)
    nothing = [("Serve", sides["noop"]), ("Flask", sides["flask"])]
    lines = [(name, statistics.mean(side.nothing)) for name, side in nothing]
    report("A request that does nothing", ["", "p50 ms"], lines)
    landmarks = {min(found) for found in sides["flask"].answers.values()}
    print(f"{PHOTOS} photos are {len(landmarks)} landmarks to Flask", file=sys.stderr)


def main() -> None:
    """Measure, print, and end with what `finish` says."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder:
        sides = measure_all(Path(folder))
    show(sides)
    flask = sides["flask"]
    figures: dict[str, float] = {}
    for name in ("f32", "bf16", "shared"):
        figures[f"p50_{name}"] = sides[name].speedup(flask)
        figures[f"throughput_{name}"] = sides[name].gain(flask)
    for name in ("f32", "bf16"):
        figures[f"top1_{name}"] = sides[name].agreement(flask)
    figures["top1_shared"] = sides["shared"].agreement(sides["predict"])
    figures["serve_cost_ms"] = statistics.mean(sides["noop"].nothing)
    figures["flask_cost_ms"] = statistics.mean(flask.nothing)
    for name in ("flask", "f32", "bf16", "shared"):
        figures[f"memory_{name}_gb"] = max(sides[name].memory)
    finish(figures, all(figures[key] >= least for key, least in LEAST.items()))


if __name__ == "__main__":
    main()

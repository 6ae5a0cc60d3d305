"""What the benchmarks share: figures and their bounds, how one is run, and photographs to work on.

A benchmark is a file with `FIGURES` (what it measures), a frozen dataclass of sizes, and a function
`measure(size, folder)` that returns a value for each figure. `run` makes a command of them:

    python bench/NAME.py [--smoke | --large]

At full size the bounds are judged. `--smoke` runs the same code on a toy, where it is only checked
that every figure is there and finite. `--large`, which some have, measures the same on more data
than `bench/all.py` has time for.
"""

import argparse
import functools
import hashlib
import io
import json
import math
import multiprocessing
import os
import re
import sys
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from landmark_ray.config import STAGES, Config
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source, drop_unlabelled
from landmark_ray.demo import dataset
from landmark_ray.demo.layout_plan import Plan

REPO = Path(__file__).parents[1]
SHARED = REPO.parent / "shared"
GLD_MINI = SHARED / "data/gld-mini"
DELF_STANDIN = SHARED / "models/delf_standin"
GIB = 1 << 30
CORES = 2
MAX_BYTES = 64e6
TOY = Plan(sizes=(13, 9, 9), small=(3,), tests=1, strangers=2, noise=3, duplicates=2, oddities=0)
TINY_NETWORK = (
    *("--train.network", "small", "--train.weights", "none", "--resize.size", "32"),
    *("--train.trunk_epochs", "1", "--train.head_epochs", "2", "--train.views", "1"),
)
"""Options that make a training quick; its models learn nothing."""
FEW_FEATURES = ("--extract.max_side", "320", "--extract.max_feature_num", "500")
GEOMETRY_ALONE = ("--train.weights", "none")
"""Options without a network that describes photos before they are cleaned."""
MOBILENET = (
    *("--train.network", "mobilenet_v2", "--train.weights"),
    str(SHARED / "models/mobilenet_v2_imagenet_notop.weights.h5"),
)
"""Options of a network that two cores train in minutes."""


@dataclass(frozen=True)
class Figure:
    """A number that a benchmark measures.

    Attributes:
        what: in plain English, as a row of the README's table.
        baseline: what it is compared with; empty if the value is absolute.
        unit: that is shown after the value, such as "s" or "times as fast".
        least: the smallest value that is accepted.
        most: the largest one.
        quoted: whether the README's table has it.
    """

    what: str
    baseline: str = ""
    unit: str = ""
    least: float | None = None
    most: float | None = None
    quoted: bool = True

    def judged(self, value: float) -> dict[str, Any]:
        """The figure with a value, as it is stored."""
        low = -math.inf if self.least is None else self.least
        high = math.inf if self.most is None else self.most
        met = low <= value <= high
        shorter = (float(f"{value:.{digits}g}") for digits in (3, 4, 5))
        rounded = next((v for v in shorter if (low <= v <= high) == met), value)
        bounds = [f"≥ {self.least:g}"] if self.least is not None else []
        bounds += [f"≤ {self.most:g}"] if self.most is not None else []
        return {
            "what": self.what,
            "baseline": self.baseline,
            "value": rounded,
            "unit": self.unit,
            "bound": ", ".join(bounds),
            "met": bool(met),
            "quoted": self.quoted,
        }


def run(
    measure: Callable[[Any, Path], Mapping[str, float]],
    figures: Mapping[str, Figure],
    *,
    full: Any,
    smoke: Any,
    large: Any = None,
    without: Callable[[Any], Collection[str]] = lambda size: (),
) -> None:
    """Run a benchmark as the command line asks for; exit with status 1 if a bound is not met.

    Args:
        measure: size and an empty folder -> the value of each figure.
        figures: what it measures.
        full: the size whose figures count.
        smoke: the size of a toy.
        large: a size that takes longer than `full`, if there is one.
        without: size -> figures that it does without.

    Raises:
        RuntimeError: a figure is missing, unknown or not finite.
    """
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--smoke", action="store_true", help="a toy size; no bound is judged")
    sizes.add_argument("--large", action="store_true", help="more data; takes longer")
    given = parser.parse_args()
    if given.large and large is None:
        parser.error("this benchmark has no larger size")
    size = smoke if given.smoke else large if given.large else full
    if not given.smoke and not GLD_MINI.exists():
        sys.exit(f"error: the full size needs the photographs of {GLD_MINI}, which is not there")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        values = measure(size, Path(folder))
    wanted = set(figures) - set(without(size))
    if set(values) != wanted:
        raise RuntimeError(f"figures {sorted(set(values) ^ wanted)} are missing or unknown")
    broken = {name: value for name, value in values.items() if not math.isfinite(value)}
    if broken:
        raise RuntimeError(f"figures that are not finite: {broken}")
    rows = {name: figures[name].judged(values[name]) for name in figures if name in values}
    report(
        "Figures",
        ["figure", "value", "bound", ""],
        [
            [
                name,
                f"{row['value']:,g} {row['unit']}",
                row["bound"],
                "" if row["met"] or given.smoke else "not met",
            ]
            for name, row in rows.items()
        ],
    )
    print(json.dumps(rows), flush=True)  # the last line, which bench/all.py reads
    sys.exit(0 if given.smoke or all(row["met"] for row in rows.values()) else 1)


def report(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | float]]) -> None:
    """Print a table on stdout: words to the left, numbers to the right."""
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_shown(cell) for cell in row))
    Console(width=110).print(table)


def _shown(cell: str | float) -> str:
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.2f}"


def in_own_process(work: Callable[..., Any], *args: Any) -> Any:
    """What a function returns in a new process on `CORES` cores."""
    cpus = sorted(os.sched_getaffinity(0))[:CORES]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, os.sched_setaffinity, (0, cpus)) as pool:
        return pool.submit(work, *args).result()


def peak_gib() -> float:
    """The most memory that this process ever held; ru_maxrss would include the parent's."""
    status = Path("/proc/self/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    assert peak is not None
    return int(peak[1]) * 1024 / GIB


def reset_peak() -> None:
    """Start `peak_gib` anew."""
    Path("/proc/self/clear_refs").write_text("5")


@dataclass(frozen=True)
class Photo:
    """A file of a dataset; `data` may be anything."""

    image_id: str
    landmark_id: int
    data: bytes


@functools.cache
def toy() -> Path:
    """A drawn dataset of 45 files in GLDv2's layout; it goes when this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="bench-toy-")
    _KEPT.append(folder)
    dataset.draw(Path(folder.name) / "source", seed=0, plan=TOY)
    return Path(folder.name) / "source"


_KEPT: list["tempfile.TemporaryDirectory[str]"] = []


@functools.cache
def tiny_weights() -> tuple[str, str]:
    """The option of random weights of `TINY_NETWORK`, with which no trunk is trained.

    Photos are described with them before they are cleaned. They go when this process ends.
    """
    folder = tempfile.TemporaryDirectory(prefix="bench-weights-")
    _KEPT.append(folder)
    file = Path(folder.name) / "tiny.weights.h5"
    in_own_process(save_tiny, file)
    return ("--train.weights", str(file))


def save_tiny(file: Path) -> None:
    """Write random weights of the network `small`."""
    from landmark_ray.models.networks import build_trunk, save_trunk

    save_trunk(build_trunk("small", weights=None, input_size=32), file)


def source_folder(smoke: bool) -> Path:
    """A folder in GLDv2's layout with `truth.csv`: gld-mini, or the toy."""
    return toy() if smoke else GLD_MINI


def photographs(source: Path) -> list[Photo]:
    """The training images of a dataset."""
    opened = Source(str(source))
    rows = drop_unlabelled(opened.index()[0]).to_pylist()
    landmark = {row["image_id"]: row["landmark_id"] for row in rows}
    return [
        Photo(member.image_id, landmark[member.image_id], member.data)
        for archive in opened.archives()
        for member in archive.members(MAX_BYTES)
        if member.image_id in landmark
    ]


def write_source(tars: Iterable[Iterable[Photo]], folder: Path) -> int:
    """Write a source in GLDv2's layout; returns the number of images."""
    (folder / "train").mkdir(parents=True)
    (folder / "md5sum/train").mkdir(parents=True)
    lines = ["id,url,landmark_id"]
    for number, photos in enumerate(tars):
        path = folder / f"train/images_{number:03d}.tar"
        with tarfile.open(path, "w") as tar:
            for photo in photos:
                lines.append(f"{photo.image_id},,{photo.landmark_id}")
                info = tarfile.TarInfo(f"{'/'.join(photo.image_id[:3])}/{photo.image_id}.jpg")
                info.size = len(photo.data)
                tar.addfile(info, io.BytesIO(photo.data))
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        (folder / f"md5sum/train/md5.images_{number:03d}.txt").write_text(f"{md5}  {path.name}\n")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    return len(lines) - 1


def write_copies(photos: Sequence[Photo], copies: int, folder: Path) -> int:
    """Write a source with each photo `copies` times; returns the number of images.

    Each copy has its own image and landmark ids, so classes keep their sizes, and a tar of its own.
    """

    def copied(photo: Photo, copy: int) -> Photo:
        image_id = hashlib.blake2b(f"{photo.image_id} {copy}".encode(), digest_size=8).hexdigest()
        return Photo(image_id, photo.landmark_id + copy * 1_000_000, photo.data)

    return write_source(((copied(p, copy) for p in photos) for copy in range(copies)), folder)


def run_stages(words: Iterable[object], first: str, last: str) -> tuple[Config, Root]:
    """Run stages in this process as jobs/pipeline.py does; returns options and tables."""
    from landmark_ray import cli, pipeline  # a second, which not every process needs

    config = cli.parse(Config, [str(word) for word in words], "")
    pipeline.run(config, STAGES[STAGES.index(first) : STAGES.index(last) + 1])
    return config, Root(config.root)

"""What the benchmarks share: photographs to work on, tables of figures, the last line."""

import hashlib
import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from landmark_ray.data.sources import Source, drop_unlabelled
from landmark_ray.demo import dataset

GIB = 1 << 30
SHARED = Path(__file__).parents[2] / "shared"
GLD_MINI = SHARED / "data/gld-mini"
DELF_STANDIN = SHARED / "models/delf_standin"
MAX_BYTES = 64e6


@dataclass(frozen=True)
class Photo:
    """A file of a dataset; `data` may be anything."""

    image_id: str
    landmark_id: int
    data: bytes


def gld_mini_options() -> list[str]:
    """Of a run over gld-mini, with a network that two cores train in minutes."""
    weights = SHARED / "models/mobilenet_v2_imagenet_notop.weights.h5"
    network = ["--train.network", "mobilenet_v2", "--train.weights", str(weights)]
    return ["--source", str(GLD_MINI), *network]


def photographs() -> list[Photo]:
    """The training images of gld-mini; of the drawn demo where it isn't there."""
    if GLD_MINI.exists():
        return _read(Source(str(GLD_MINI)))
    print("no ../shared/data/gld-mini: the drawn demo takes its place", file=sys.stderr)
    return demo_photographs()


def demo_photographs() -> list[Photo]:
    """The training images of the drawn demo."""
    with tempfile.TemporaryDirectory(prefix="bench-demo-") as folder:
        dataset.draw(Path(folder) / "source", seed=0)
        return _read(Source(f"{folder}/source"))


def _read(source: Source) -> list[Photo]:
    rows = drop_unlabelled(source.index()[0]).to_pylist()
    landmark = {row["image_id"]: row["landmark_id"] for row in rows}
    return [
        Photo(member.image_id, landmark[member.image_id], member.data)
        for archive in source.archives()
        for member in archive.members(MAX_BYTES)
        if member.image_id in landmark
    ]


def write_copies(photos: Iterable[Photo], copies: int, folder: Path) -> int:
    """Write a source in GLDv2's layout with each photo `copies` times; the number of images.

    Each copy has its own image and landmark ids, so classes keep their sizes, and a tar of its own.
    """
    (folder / "train").mkdir(parents=True)
    (folder / "md5sum/train").mkdir(parents=True)
    lines = ["id,url,landmark_id"]
    for copy in range(copies):
        path = folder / f"train/images_{copy:03d}.tar"
        with tarfile.open(path, "w") as tar:
            for photo in photos:
                text = f"{photo.image_id} {copy}".encode()
                image_id = hashlib.blake2b(text, digest_size=8).hexdigest()
                lines.append(f"{image_id},,{photo.landmark_id + copy * 1_000_000}")
                info = tarfile.TarInfo(f"{'/'.join(image_id[:3])}/{image_id}.jpg")
                info.size = len(photo.data)
                tar.addfile(info, io.BytesIO(photo.data))
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        (folder / f"md5sum/train/md5.images_{copy:03d}.txt").write_text(f"{md5}  {path.name}\n")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    return len(lines) - 1


def report(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | float]]) -> None:
    """Print a table on stdout: words to the left, numbers to the right."""
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_shown(cell) for cell in row))
    Console(width=100).print(table)


def _shown(cell: str | float) -> str:
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.2f}"


def finish(figures: Mapping[str, float], met: bool) -> None:
    """Print the figures as the last line, and end with status 1 where a requirement is missed."""
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
    print(json.dumps({**rounded, "met": met}), flush=True)
    sys.exit(0 if met else 1)

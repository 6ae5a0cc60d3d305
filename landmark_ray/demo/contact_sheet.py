"""A contact sheet of the drawn dataset: some views of every landmark."""

import csv
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

from landmark_ray.demo.drawing import Image

SIGNATURE = ("Software", "landmark_ray.demo")

ROWS = 300
"""Number of landmarks that a sheet shows at most."""


def check(out: Path) -> None:
    """Make sure that nothing but an older sheet is written over.

    Raises:
        ValueError: another file is there.
    """
    if not (out.exists() or out.is_symlink()):
        return
    name, value = SIGNATURE
    try:
        with Pillow.open(out) as there:
            ours = there.info.get(name) == value and not out.is_symlink()
    except OSError:
        ours = False
    if not ours:
        raise ValueError(f"{out} is there, and is no sheet of ours: give --sheet another name")


def read_images(dataset: Path, names: set[str], side: int) -> dict[str, Image]:
    """Read some training images by their ids, shrunk to a longest side: (height, width, 3), RGB."""
    found = {}
    for path in sorted((dataset / "train").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if Path(member.name).stem in names:
                    file = tar.extractfile(member)
                    assert file is not None
                    found[Path(member.name).stem] = _shrunk(file, side)
    return found


def _shrunk(file: IO[bytes], side: int) -> Image:
    image = np.asarray(Pillow.open(file).convert("RGB"))
    share = side / max(image.shape[:2])
    small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False)


def sheet(dataset: Path, out: Path, views: int = 8, cell: int = 150) -> None:
    """Lay out a contact sheet: some views of the first `ROWS` landmarks, and a row of noise."""
    rows: dict[str, list[str]] = defaultdict(list)
    names = dict(csv.reader((dataset / "train_label_to_category.csv").open()))
    for name, landmark_id, kind, _ in csv.reader((dataset / "truth.csv").open()):
        if kind in ("photo", "small_class", "noise"):
            title = "noise" if kind == "noise" else names[landmark_id].partition("Category:")[2]
            rows[title].append(name)
    titles = [title for title in sorted(rows) if title != "noise"][:ROWS]
    titles += ["noise"] if "noise" in rows else []
    shown = {name for title in titles for name in rows[title][:views]}
    images = read_images(dataset, shown, cell - 4)
    page = np.full((cell * ((len(titles) + 1) // 2), cell * 2 * (views + 1), 3), 255, np.uint8)
    for place, title in enumerate(titles):
        row = rows[title]
        top, left = cell * (place // 2), cell * (views + 1) * (place % 2)
        for line, words in enumerate([*title.split("_"), f"{len(row)} photos"]):
            spot = (left + 8, top + 30 + 22 * line)
            cv2.putText(page, words, spot, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
        for column, name in enumerate(row[:views], start=1):
            small = images[name]
            x = left + cell * column
            page[top : top + small.shape[0], x : x + small.shape[1]] = small
    signature = PngInfo()
    signature.add_text(*SIGNATURE)
    Pillow.fromarray(page).save(out, "PNG", pnginfo=signature)

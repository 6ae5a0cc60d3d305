"""The threshold sweep: how many images other thresholds would keep, without matching again.

An image has `k` partners at a threshold of `t` if and only if its k-th largest inlier count is at
least `t`. Therefore, the sweep needs only the few largest counts of each image.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from landmark_ray.data.root import Root
from landmark_ray.runtime import receipts

FILES = tuple(f"reports/sweep.{ending}" for ending in ("json", "csv", "png"))

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Sweep:
    """The images and classes that are kept for each pair of thresholds, called a cell.

    Attributes:
        min_inliers: [T] values of match.min_inliers, rising.
        min_partners: [P] values of match.min_partners, rising.
        images: [T, P] number of kept images.
        classes: [T, P] number of kept classes.
        of: Number of images and of classes that were matched.
        own: (min_inliers, min_partners) of the run itself.
        max_images: The largest number of kept images of a class.
        min_images: The smallest number of images of a kept class.
    """

    min_inliers: tuple[int, ...]
    min_partners: tuple[int, ...]
    images: Counts
    classes: Counts
    of: tuple[int, int]
    own: tuple[int, int]
    max_images: int
    min_images: int

    def cells(self) -> list[dict[str, int | bool]]:
        """Return a row for each cell."""
        return [
            {
                "min_inliers": inliers,
                "min_partners": partners,
                "images": int(self.images[i, j]),
                "classes": int(self.classes[i, j]),
                "own": (inliers, partners) == self.own,
            }
            for i, inliers in enumerate(self.min_inliers)
            for j, partners in enumerate(self.min_partners)
        ]


def kept_counts(
    pairs: pa.Table,
    *,
    min_inliers: Sequence[int],
    min_partners: Sequence[int],
    max_images: int,
    min_images: int,
) -> tuple[Counts, Counts]:
    """Count the images and classes that the stage prune would keep for each pair of thresholds.

    Args:
        pairs: `landmark_id`, `image_a`, `image_b` and `inliers` of every pair of some classes.
        min_inliers: [T] values of match.min_inliers, rising.
        min_partners: [P] values of match.min_partners, each at least 1.
        max_images: The largest number of kept images of a class.
        min_images: The smallest number of images of a kept class.

    Returns:
        Number of kept images [T, P] and of kept classes [T, P].
    """
    pairs = pairs.combine_chunks()
    pairs = pairs.filter(pc.greater_equal(pairs["inliers"], min_inliers[0]))
    landmarks, best = best_counts(pairs, max(min_partners))
    classes, of_class = np.unique(landmarks, return_inverse=True)
    kept = np.zeros((len(classes), len(min_inliers), len(min_partners)), np.int64)
    levels = len(min_inliers) + 1
    for j, partners in enumerate(min_partners):
        level = np.searchsorted(min_inliers, best[:, partners - 1], side="right")
        reached = np.bincount(of_class * levels + level, minlength=len(classes) * levels)
        at_least = reached.reshape(-1, levels)[:, ::-1].cumsum(1)[:, ::-1]
        kept[:, :, j] = np.minimum(at_least[:, 1:], max_images)
    kept[kept < min_images] = 0
    return kept.sum(0), (kept > 0).sum(0)


def best_counts(pairs: pa.Table, k: int) -> tuple[Counts, Counts]:
    """Find the largest inlier counts of each image among its pairs.

    Args:
        pairs: As for `kept_counts`, in one chunk.
        k: Number of counts of each image.

    Returns:
        [N] landmark of each image that is in a pair, and [N, k] its largest counts, falling; 0
        where an image has fewer pairs.
    """
    ends = pa.chunked_array([*pairs["image_a"].chunks, *pairs["image_b"].chunks], pa.string())
    words = ends.dictionary_encode().combine_chunks()
    of_end = np.tile(pairs["landmark_id"].to_numpy(), 2)
    inliers = np.tile(pairs["inliers"].to_numpy().astype(np.int64), 2)
    classes, of_class = np.unique(of_end, return_inverse=True)
    image = of_class * len(words.dictionary) + words.indices.to_numpy().astype(np.int64)
    span = int(inliers.max(initial=0)) + 1
    ranked = np.sort(image * span + (span - 1 - inliers))  # by image, the largest count first
    image, inliers = ranked // span, span - 1 - ranked % span
    first = np.flatnonzero(np.diff(image, prepend=-1))
    size = np.diff(first, append=len(image))
    best = np.zeros((len(first), k), np.int64)
    for i in range(k):
        has = size > i
        best[has, i] = inliers[first[has] + i]
    return classes[image[first] // max(len(words.dictionary), 1)], best


def show(sweep: Sweep) -> None:
    """Print the sweep as a table."""
    table = Table(title=_title(sweep), caption="* the thresholds of the run")
    table.add_column("inliers", justify="right")
    for kind in ("images", "classes"):
        for partners in sweep.min_partners:
            table.add_column(f"{kind}\n{_partners(partners)}", justify="right")
    for i, inliers in enumerate(sweep.min_inliers):
        marks = ["*" if (inliers, p) == sweep.own else "" for p in sweep.min_partners] * 2
        counts = [*sweep.images[i], *sweep.classes[i]]
        table.add_row(f"{inliers}", *(f"{m}{n:,}" for m, n in zip(marks, counts, strict=True)))
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)


def _partners(count: int) -> str:
    return f"{count} partner{'s' if count > 1 else ''}"


def _title(sweep: Sweep) -> str:
    return (
        f"Images and classes that are kept of {sweep.of[0]:,} images in {sweep.of[1]:,} classes,\n"
        "by the inliers that verify a pair, and by the partners that an image needs\n"
        f"(classes of {sweep.min_images} to {sweep.max_images} images)"
    )


def store(sweep: Sweep, root: Root) -> None:
    """Write `reports/sweep.json`, `sweep.csv` and `sweep.png` under the root."""
    cells = sweep.cells()
    value = {
        "images": sweep.of[0],
        "classes": sweep.of[1],
        "prune.max_images": sweep.max_images,
        "prune.min_images": sweep.min_images,
        "cells": cells,
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, cells[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**cell, "own": int(cell["own"])} for cell in cells)
    data = json.dumps(value, indent=1).encode(), text.getvalue().encode(), draw(sweep)
    receipts.write(root, dict(zip(FILES, data, strict=True)))


def draw(sweep: Sweep) -> bytes:
    """Draw kept images and classes by threshold, one line per number of partners; return a PNG."""
    figure = Figure(figsize=(11, 4.8), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    _panel(left, sweep, sweep.images, f"images kept of {sweep.of[0]:,}")
    _panel(right, sweep, sweep.classes, f"classes kept of {sweep.of[1]:,}")
    own = Line2D([], [], color="black", marker="o", markersize=9, fillstyle="none", linewidth=0)
    lines = left.get_lines()[: len(sweep.min_partners)]
    figure.legend(
        [*lines, own],
        [*(f"{_partners(p)} or more" for p in sweep.min_partners), "thresholds of the run"],
        loc="outside lower center",
        ncols=len(lines) + 1,
        frameon=False,
    )
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _panel(axes: Axes, sweep: Sweep, counts: Counts, title: str) -> None:
    shades = matplotlib.colormaps["viridis"](np.linspace(0.1, 0.85, len(sweep.min_partners)))
    for j, colour in enumerate(shades):
        extra = 3 * (1 - (j + 1) / len(shades))  # keeps lines visible that lie on each other
        axes.plot(
            sweep.min_inliers,
            counts[:, j],
            "o-",
            color=colour,
            linewidth=1.2 + extra,
            markersize=4 + extra,
        )
    i, j = sweep.min_inliers.index(sweep.own[0]), sweep.min_partners.index(sweep.own[1])
    axes.plot(sweep.own[0], counts[i, j], "o", color="black", markersize=13, fillstyle="none")
    axes.annotate(
        f"{counts[i, j]:,}",
        (sweep.own[0], counts[i, j]),
        xytext=(9, 9),
        textcoords="offset points",
    )
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("inliers that verify a pair")
    axes.set_ylim(0, max(int(counts.max()), 1) * 1.1)
    axes.margins(x=0.06)
    if sweep.min_inliers[-1] - sweep.min_inliers[0] > 40:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.set_xticks(sweep.min_inliers)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)

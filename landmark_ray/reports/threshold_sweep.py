"""The threshold sweep: how many images other thresholds would keep, without matching again.

An image has `k` partners at a threshold of `t` if and only if its k-th largest inlier count is at
least `t`. Therefore, the sweep needs only the few largest counts of each image. An image that
agrees with its neighbours stays at every threshold of inliers.
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
from rich.table import Table

from landmark_ray.data.root import Root
from landmark_ray.runtime import receipts
from landmark_ray.runtime.progress import console

FILES = tuple(f"reports/sweep.{ending}" for ending in ("json", "csv", "png"))

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Sweep:
    """The images and classes that are kept for each combination of thresholds, called a cell.

    Attributes:
        min_inliers: [T] values of match.min_inliers, rising.
        min_partners: [P] values of match.min_partners, rising.
        agreement: [A] values of prune.agreement, rising; 0 if agreement is not asked.
        images: [T, P, A] number of kept images.
        classes: [T, P, A] number of kept classes.
        of: Number of images and of classes that were matched.
        own: (min_inliers, min_partners, agreement) of the run itself.
        max_images: The largest number of kept images of a class.
        min_images: The smallest number of images of a kept class.
    """

    min_inliers: tuple[int, ...]
    min_partners: tuple[int, ...]
    agreement: tuple[float, ...]
    images: Counts
    classes: Counts
    of: tuple[int, int]
    own: tuple[int, int, float]
    max_images: int
    min_images: int

    def cells(self) -> list[dict[str, int | float | bool]]:
        """Return a row for each cell."""
        return [
            {
                "min_inliers": inliers,
                "min_partners": partners,
                "agreement": agreement,
                "images": int(self.images[i, j, k]),
                "classes": int(self.classes[i, j, k]),
                "own": (inliers, partners, agreement) == self.own,
            }
            for i, inliers in enumerate(self.min_inliers)
            for j, partners in enumerate(self.min_partners)
            for k, agreement in enumerate(self.agreement)
        ]

    def slices(self) -> list["Slice"]:
        """Return the cells by partners and, if several are asked, by agreement."""
        partners = self.min_partners.index(self.own[1])
        agreement = self.agreement.index(self.own[2])
        slices = [
            Slice(
                [f"{n} partner{'s' if n > 1 else ''} or more" for n in self.min_partners],
                partners,
                self.images[:, :, agreement],
                self.classes[:, :, agreement],
            )
        ]
        if len(self.agreement) > 1:
            slices.append(
                Slice(
                    [f"agreement {a:g}" if a else "geometry alone" for a in self.agreement],
                    agreement,
                    self.images[:, partners],
                    self.classes[:, partners],
                )
            )
        return slices


@dataclass(frozen=True)
class Slice:
    """The cells in which one threshold besides the inliers differs.

    Attributes:
        names: [N] what that threshold is.
        own: The index of the run's own.
        images: [T, N] number of kept images.
        classes: [T, N] number of kept classes.
    """

    names: list[str]
    own: int
    images: Counts
    classes: Counts


def kept_counts(
    images: pa.Table,
    pairs: pa.Table,
    *,
    min_inliers: Sequence[int],
    min_partners: Sequence[int],
    agreement: Sequence[float],
    max_images: int,
    min_images: int,
) -> tuple[Counts, Counts]:
    """Count the images and classes that the stage prune would keep for each cell.

    Args:
        images: `landmark_id`, `image_id` and `agreement` of each image of some classes.
        pairs: `landmark_id`, `image_a`, `image_b` and `inliers` of every pair of these classes.
        min_inliers: [T] values of match.min_inliers, rising.
        min_partners: [P] values of match.min_partners, each at least 1.
        agreement: [A] values of prune.agreement; 0 if agreement is not asked.
        max_images: The largest number of kept images of a class.
        min_images: The smallest number of images of a kept class.

    Returns:
        Number of kept images [T, P, A] and of kept classes [T, P, A].
    """
    best = best_counts(images, pairs, max(min_partners))
    share = pc.fill_null(images["agreement"], -1).to_numpy()
    classes, of_class = np.unique(images["landmark_id"].to_numpy(), return_inverse=True)
    levels = len(min_inliers) + 1
    kept = np.zeros((len(classes), levels - 1, len(min_partners), len(agreement)), np.int64)
    for j, partners in enumerate(min_partners):
        verified = np.searchsorted(min_inliers, best[:, partners - 1], side="right")
        for k, least in enumerate(agreement):
            similar = (share >= least) & (least > 0)
            level = np.where(similar, levels - 1, verified)
            reached = np.bincount(of_class * levels + level, minlength=len(classes) * levels)
            at_least = reached.reshape(-1, levels)[:, ::-1].cumsum(1)[:, ::-1]
            kept[:, :, j, k] = np.minimum(at_least[:, 1:], max_images)
    kept[kept < min_images] = 0
    return kept.sum(0), (kept > 0).sum(0)


def best_counts(images: pa.Table, pairs: pa.Table, k: int) -> Counts:
    """Find the largest inlier counts of each image among its pairs.

    Args:
        images: `landmark_id` and `image_id` of N images.
        pairs: As for `kept_counts`.
        k: Number of counts of each image.

    Returns:
        [N, k] the largest counts, falling; 0 where an image has fewer pairs.
    """
    row = {key: i for i, key in enumerate(_keys(images, "image_id"))}
    image = np.array([row[key] for end in ("image_a", "image_b") for key in _keys(pairs, end)], int)
    inliers = np.tile(pairs["inliers"].to_numpy().astype(np.int64), 2)
    order = np.lexsort((-inliers, image))
    image, inliers = image[order], inliers[order]
    rank = np.arange(len(image)) - np.searchsorted(image, image)
    best = np.zeros((images.num_rows, k), np.int64)
    first = rank < k
    best[image[first], rank[first]] = inliers[first]
    return best


def _keys(rows: pa.Table, column: str) -> list[tuple[int, str]]:
    """Return the landmark and the id of each row; classes may share image ids."""
    return list(zip(rows["landmark_id"].to_pylist(), rows[column].to_pylist(), strict=True))


def show(sweep: Sweep) -> None:
    """Print the sweep as tables."""
    for part in sweep.slices():
        table = Table(title=_title(sweep), caption="* the thresholds of the run")
        table.add_column("inliers", justify="right")
        for kind in ("images", "classes"):
            for name in part.names:
                table.add_column(f"{kind}\n{name.removesuffix(' or more')}", justify="right")
        for i, inliers in enumerate(sweep.min_inliers):
            own = inliers == sweep.own[0]
            marks = ["*" if own and j == part.own else "" for j in range(len(part.names))] * 2
            counts = [*part.images[i], *part.classes[i]]
            table.add_row(f"{inliers}", *(f"{m}{n:,}" for m, n in zip(marks, counts, strict=True)))
        console().print(table)


def _title(sweep: Sweep) -> str:
    return (
        f"Images and classes that are kept of {sweep.of[0]:,} images in {sweep.of[1]:,} classes,\n"
        "by the inliers that verify a pair, and by what else an image needs\n"
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
    """Draw kept images and classes by threshold; return a PNG."""
    slices = sweep.slices()
    figure = Figure(figsize=(11, 4.8 * len(slices)), dpi=110, layout="constrained")
    areas = figure.subfigures(len(slices), 1, squeeze=False)[:, 0]
    for rows, part in zip(areas, slices, strict=True):
        left, right = rows.subplots(1, 2)
        _panel(left, sweep, part, part.images, f"images kept of {sweep.of[0]:,}")
        _panel(right, sweep, part, part.classes, f"classes kept of {sweep.of[1]:,}")
        own = Line2D([], [], color="black", marker="o", markersize=9, fillstyle="none", linewidth=0)
        lines = left.get_lines()[: len(part.names)]
        rows.legend(
            [*lines, own],
            [*part.names, "thresholds of the run"],
            loc="outside lower center",
            ncols=len(lines) + 1,
            frameon=False,
        )
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _panel(axes: Axes, sweep: Sweep, part: Slice, counts: Counts, title: str) -> None:
    shades = matplotlib.colormaps["viridis"](np.linspace(0.1, 0.85, len(part.names)))
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
    own = counts[sweep.min_inliers.index(sweep.own[0]), part.own]
    axes.plot(sweep.own[0], own, "o", color="black", markersize=13, fillstyle="none")
    axes.annotate(
        f"{own:,}",
        (sweep.own[0], own),
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

"""Charts as SVG for pages: colours and strokes are classes of the page's style sheet."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from landmark_ray.kernels.metrics import Reliability

SERIES = {
    "other_top1": "validation, photos of others",
    "top1": "validation, own landmarks",
    "accuracy": "training",
}
"""Shares of a training's history, in drawing order: the last lies on top."""

Entry = Mapping[str, float | None]


@dataclass(frozen=True)
class Plot:
    """A rectangle of a picture, and the numbers that it shows; y rises upwards."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Place in the picture."""
        (x0, x1), (y0, y1) = self.x, self.y
        across, up = (x - x0) / ((x1 - x0) or 1), (y - y0) / ((y1 - y0) or 1)
        return self.left + across * self.width, self.top + (1 - up) * self.height

    def frame(
        self,
        xs: Iterable[float],
        ys: Iterable[float],
        x_text: Callable[[float], str],
        y_text: Callable[[float], str],
    ) -> list[Markup]:
        """Grid lines and their numbers."""
        right, foot = self.left + self.width, self.top + self.height
        drawn = []
        for y in ys:
            _, v = self.at(self.x[0], y)
            drawn.append(tag("line", class_="grid", x1=self.left, x2=right, y1=v, y2=v))
            drawn.append(text(self.left - 5, v + 3.5, y_text(y), "end"))
        for x in xs:
            u, _ = self.at(x, self.y[0])
            drawn.append(tag("line", class_="grid", x1=u, x2=u, y1=foot, y2=foot + 3))
            drawn.append(text(u, foot + 14, x_text(x), "middle"))
        return drawn

    def line(self, points: Iterable[tuple[float, float]], kind: str, dots: int = 12) -> Markup:
        """A line through points, with dots where they are few."""
        places = [self.at(*point) for point in points]
        path = " ".join(f"{u:.1f},{v:.1f}" for u, v in places)
        few = places if len(places) <= dots else []
        marks = [tag("circle", class_=f"dot {kind}", cx=u, cy=v, r=2) for u, v in few]
        return tag("g", tag("polyline", class_=f"line {kind}", points=path), *marks)


def tag(name: str, *children: str, **attributes: str | float) -> Markup:
    """An element; everything is escaped but other elements."""
    given = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _short(value))
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, given, Markup("").join(children))


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> Markup:
    """Words in a picture."""
    more = {"class_": kind} if kind else {}
    return tag("text", words, x=x, y=y, text_anchor=anchor, **more)


def picture(width: float, height: float, label: str, parts: Iterable[str]) -> Markup:
    """A whole picture; the label is what a screen reader says."""
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", *parts, viewBox=box, role="img", aria_label=label)


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


def percent(share: float) -> str:
    """A share on an axis."""
    return f"{100 * share:.3g}%"


def compact(count: int) -> str:
    """A count in four letters at most."""
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if count >= 0.9995 * size:
            return f"{count / size:.0f}{letter}"
    return str(count)


def ticks(high: float, most: int = 4) -> list[float]:
    """Round numbers from 0 to `high` or a little below it."""
    if not high > 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(high / most))
    step = next(m * power for m in (1, 2, 5, 10) if m * power * most >= high * (1 - 1e-9))
    return [i * step for i in range(int(high / step + 1e-9) + 1)]


def reliability_diagram(found: Reliability) -> Markup:
    """Accuracy against confidence in bins, and below how many answers each bin holds."""
    plot = Plot(48, 10, 296, 210, (0, 1), (0, 1))
    quarters = np.linspace(0, 1, 5).tolist()
    parts = plot.frame([], quarters, percent, percent)
    most, floor = max(int(found.count.max(initial=0)), 1), 306.0
    counts = Plot(plot.left, 246, plot.width, floor - 246, (0, 1), (0, most))
    for i, count in enumerate(found.count.tolist()):
        low, high = found.edges[i], found.edges[i + 1]
        u, w = plot.at(low, 0)[0] + 1, plot.width * (high - low) - 2
        if not count:
            continue
        accuracy, confidence = found.accuracy[i], found.confidence[i]
        says = (
            f"confidence {percent(low)} to {percent(high)}: {count:,} answers, "
            f"mean confidence {percent(confidence)}, right {percent(accuracy)}"
        )
        v = plot.at(0, accuracy)[1]
        bar = tag("rect", class_="bar a", x=u, y=v, width=w, height=plot.top + plot.height - v)
        level = plot.at(0, confidence)[1]
        mean = tag("line", class_="line b thick", x1=u, x2=u + w, y1=level, y2=level)
        v = counts.at(0, count)[1]
        pile = tag("rect", class_="bar muted", x=u, y=v, width=w, height=max(floor - v, 0.5))
        number = text(u + w / 2, v - 3, compact(count), "middle", "small")
        parts.append(tag("g", tag("title", says), bar, mean, pile, number))
    parts.append(plot.line([(0, 0), (1, 1)], "ink dashed", dots=0))
    parts += counts.frame(quarters, [0], percent, lambda _: "")
    parts.append(text(plot.left - 5, 280, "count", "end"))
    parts.append(text(plot.left + plot.width / 2, 334, "confidence", "middle"))
    parts.append(_upright(plot, "right answers"))
    label = f"Reliability diagram of {int(found.count.sum()):,} answers in {len(found.count)} bins"
    return picture(360, 340, label, parts)


def _upright(plot: Plot, words: str) -> Markup:
    """Words along the y axis."""
    x, y = 9.0, plot.top + plot.height / 2
    turn = f"rotate(-90 {x:g} {y:g})"
    return tag("text", words, x=x, y=y, text_anchor="middle", transform=turn)


def precision_recall_chart(
    recall: NDArray[np.float64],
    precision: NDArray[np.float64],
    marks: Mapping[str, tuple[float, float]],
) -> Markup:
    """Precision against recall.

    Args:
        recall: [K], rising.
        precision: [K].
        marks: name -> (recall, precision) of a threshold, two at most.
    """
    plot = Plot(48, 10, 296, 288, (0, 1), (0, 1))
    quarters = np.linspace(0, 1, 5).tolist()
    parts = plot.frame(quarters, quarters, percent, percent)
    points = list(zip(recall.tolist(), precision.tolist(), strict=True))
    parts.append(plot.line([(0.0, points[0][1]), *points], "a", dots=0))
    for n, (name, (x, y)) in enumerate(marks.items()):
        u, v = plot.at(x, y)
        where = f"{name}: precision {percent(y)}, recall {percent(x)}"
        row = plot.top + plot.height - 34 + 18 * n  # beside the curve, in the lower left
        shape = tag("title", where), _mark(n, u, v)
        parts.append(tag("g", *shape))
        parts += [_mark(n, plot.left + 14, row), text(plot.left + 24, row + 4, where)]
    parts.append(text(plot.left + plot.width / 2, 334, "recall", "middle"))
    parts.append(_upright(plot, "precision"))
    return picture(360, 340, "Precision against recall, a point for each threshold", parts)


def _mark(number: int, u: float, v: float) -> Markup:
    """A disc for the first, a diamond for the second."""
    if not number:
        return tag("circle", class_="mark b", cx=u, cy=v, r=5)
    corners = [(0, -6), (6, 0), (0, 6), (-6, 0)]
    points = " ".join(f"{u + x:.1f},{v + y:.1f}" for x, y in corners)
    return tag("polygon", class_="mark c", points=points)


def training_curves(history: Sequence[Entry], lowest: float) -> Markup:
    """Shares of right answers, and below the loss, against epochs.

    Args:
        history: an entry for each report, with `epoch` and what was measured.
        lowest: share at the foot of the upper plot.
    """
    last = history[-1]["epoch"] or 1
    losses = _points(history, "loss")
    highest = max((y for _, y in losses), default=0.0) * 1.05 or 1.0
    shares = Plot(40, 8, 228, 92, (0, last), (lowest, 1))
    loss = Plot(40, 118, 228, 60, (0, last), (0, highest))
    middle = (lowest + 1) / 2
    epochs = ticks(last)
    parts = shares.frame([], [lowest, middle, 1], percent, percent)
    parts += loss.frame(epochs, ticks(highest), "{:g}".format, "{:.3g}".format)
    parts += [
        shares.line(_points(history, name), kind) for name, kind in zip(SERIES, "cba", strict=True)
    ]
    parts.append(loss.line(losses, "ink"))
    parts.append(text(shares.left + 4, 112, "loss"))
    parts.append(text(shares.left + shares.width, 208, "epochs", "end"))
    final = [
        f"{label} {percent(points[-1][1])}"
        for name, label in reversed(SERIES.items())
        if (points := _points(history, name))
    ]
    says = f"Training over {last:g} epochs; right answers at its end: {', '.join(final)}"
    return picture(280, 212, says, parts)


def lowest_share(histories: Iterable[Sequence[Entry]]) -> float:
    """A round share below all that histories hold, so that their plots share an axis."""
    least = min(
        (y for history in histories for name in SERIES for _, y in _points(history, name)),
        default=0.0,
    )
    return min(math.floor(least * 10) / 10, 0.9)


def _points(history: Sequence[Entry], name: str) -> list[tuple[float, float]]:
    """(epoch, value) where it was measured."""
    pairs: list[tuple[Any, Any]] = [(entry["epoch"], entry.get(name)) for entry in history]
    return [(x, y) for x, y in pairs if y is not None and math.isfinite(y)]


SIZES = ((1, 5), (6, 10), (11, 20), (21, 30), (31, 50), (51, 75), (76, 99), (100, 100), (101, 0))
"""Images of a class, first and last, of the bars of a chart; 0: no last one."""


def size_chart(before: Iterable[int], after: Iterable[int]) -> Markup:
    """Classes by their number of images, in the source and of what is kept."""
    names = [
        f"{low}+" if not high else f"{low}–{high}" if low < high else f"{low}"
        for low, high in SIZES
    ]
    edges = [low for low, _ in SIZES]
    counts = []
    for sizes in (before, after):
        place = np.searchsorted(edges, np.fromiter(sizes, np.int64), side="right")
        counts.append(np.bincount(place, minlength=len(edges) + 1)[1:])
    most = max(int(max(c.max() for c in counts)), 1)
    plot = Plot(52, 10, 560, 190, (0, len(names)), (0, most))
    parts = plot.frame([], ticks(most), str, lambda y: compact(int(y)))
    for i, name in enumerate(names):
        for k, (kind, said) in enumerate((("muted", "in the source"), ("a", "kept"))):
            n = int(counts[k][i])
            u, v = plot.at(i + 0.14 + 0.36 * k, n)
            w = 0.36 * plot.width / len(names)
            box = tag("rect", class_=f"bar {kind}", x=u, y=v, width=w, height=200 - v)
            says = tag("title", f"{n:,} landmarks with {name} images {said}")
            parts.append(tag("g", says, box))
        u, _ = plot.at(i + 0.5, 0)
        parts.append(text(u, 216, name, "middle"))
    parts.append(text(332, 236, "images of a landmark", "middle"))
    return picture(624, 242, "Landmarks by their number of images", parts)

"""Charts as SVG for pages; colours and strokes are classes of the page's style sheet."""

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
"""Share in a training's history -> its label, in drawing order; the last is on top."""

Entry = Mapping[str, float | None]
"""A measurement during a training: name -> value, None if it was not measured."""


@dataclass(frozen=True)
class Plot:
    """A rectangle of a picture, in pixels, and the ranges of x and y that it shows.

    In the picture, y grows downwards; in the plot, y grows upwards.
    """

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]

    def to_pixels(self, x: float, y: float) -> tuple[float, float]:
        """Convert a point of the plot to pixels of the picture."""
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
        """Draw grid lines and their labels.

        Args:
            xs: The x values with a tick.
            ys: The y values with a grid line.
            x_text: Returns the label of an x value.
            y_text: Returns the label of a y value.
        """
        right, foot = self.left + self.width, self.top + self.height
        drawn = []
        for y in ys:
            _, v = self.to_pixels(self.x[0], y)
            drawn.append(tag("line", class_="grid", x1=self.left, x2=right, y1=v, y2=v))
            drawn.append(text(self.left - 5, v + 3.5, y_text(y), "end"))
        for x in xs:
            u, _ = self.to_pixels(x, self.y[0])
            drawn.append(tag("line", class_="grid", x1=u, x2=u, y1=foot, y2=foot + 3))
            drawn.append(text(u, foot + 14, x_text(x), "middle"))
        return drawn

    def line(self, points: Iterable[tuple[float, float]], kind: str, dots: int = 12) -> Markup:
        """Draw a line of a style class through points, with dots if there are at most `dots`."""
        pixels = [self.to_pixels(*point) for point in points]
        path = " ".join(f"{u:.1f},{v:.1f}" for u, v in pixels)
        dotted = pixels if len(pixels) <= dots else []
        marks = [tag("circle", class_=f"dot {kind}", cx=u, cy=v, r=2) for u, v in dotted]
        return tag("g", tag("polyline", class_=f"line {kind}", points=path), *marks)


def tag(name: str, *children: str, **attributes: str | float) -> Markup:
    """Make an element; all text is escaped, except children that are elements.

    An underscore in the name of an attribute becomes a hyphen; one at its end is removed.
    """
    pairs = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _short(value))
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, pairs, Markup("").join(children))


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> Markup:
    """Make a text element at a point, in pixels."""
    more = {"class_": kind} if kind else {}
    return tag("text", words, x=x, y=y, text_anchor=anchor, **more)


def picture(width: float, height: float, label: str, parts: Iterable[str]) -> Markup:
    """Make a whole picture; the label is for screen readers."""
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", *parts, viewBox=box, role="img", aria_label=label)


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


def percent(share: float) -> str:
    """Format a share from 0 to 1 as a percentage of three digits."""
    return f"{100 * share:.3g}%"


def compact(count: int) -> str:
    """Format a count in at most four letters, such as 12k."""
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if count >= 0.9995 * size:
            return f"{count / size:.0f}{letter}"
    return str(count)


def ticks(high: float, steps: int = 4) -> list[float]:
    """Return round numbers from 0 to at most `high`, in at most `steps` steps."""
    if not high > 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(high / steps))
    step = next(m * power for m in (1, 2, 5, 10) if m * power * steps >= high * (1 - 1e-9))
    return [i * step for i in range(int(high / step + 1e-9) + 1)]


def reliability_diagram(bins: Reliability) -> Markup:
    """Draw accuracy against confidence in bins, and below it the number of answers in each bin."""
    plot = Plot(48, 10, 296, 210, (0, 1), (0, 1))
    quarters = np.linspace(0, 1, 5).tolist()
    parts = plot.frame([], quarters, percent, percent)
    largest, bottom = max(int(bins.count.max(initial=0)), 1), 306.0
    counts = Plot(plot.left, 246, plot.width, bottom - 246, (0, 1), (0, largest))
    for i, count in enumerate(bins.count.tolist()):
        low, high = bins.edges[i], bins.edges[i + 1]
        u, w = plot.to_pixels(low, 0)[0] + 1, plot.width * (high - low) - 2
        if not count:
            continue
        accuracy, confidence = bins.accuracy[i], bins.confidence[i]
        title = (
            f"confidence {percent(low)} to {percent(high)}: {count:,} answers, "
            f"mean confidence {percent(confidence)}, right {percent(accuracy)}"
        )
        v = plot.to_pixels(0, accuracy)[1]
        bar = tag("rect", class_="bar a", x=u, y=v, width=w, height=plot.top + plot.height - v)
        level = plot.to_pixels(0, confidence)[1]
        mean = tag("line", class_="line b thick", x1=u, x2=u + w, y1=level, y2=level)
        v = counts.to_pixels(0, count)[1]
        lower = tag("rect", class_="bar muted", x=u, y=v, width=w, height=max(bottom - v, 0.5))
        number = text(u + w / 2, v - 3, compact(count), "middle", "small")
        parts.append(tag("g", tag("title", title), bar, mean, lower, number))
    parts.append(plot.line([(0, 0), (1, 1)], "ink dashed", dots=0))
    parts += counts.frame(quarters, [0], percent, lambda _: "")
    parts.append(text(plot.left - 5, 280, "count", "end"))
    parts.append(text(plot.left + plot.width / 2, 334, "confidence", "middle"))
    parts.append(_upright(plot, "right answers"))
    label = f"Reliability diagram of {int(bins.count.sum()):,} answers in {len(bins.count)} bins"
    return picture(360, 340, label, parts)


def _upright(plot: Plot, words: str) -> Markup:
    """Make a vertical label of the y axis."""
    x, y = 9.0, plot.top + plot.height / 2
    turn = f"rotate(-90 {x:g} {y:g})"
    return tag("text", words, x=x, y=y, text_anchor="middle", transform=turn)


def precision_recall_chart(
    recall: NDArray[np.float64],
    precision: NDArray[np.float64],
    marks: Mapping[str, tuple[float, float]],
) -> Markup:
    """Draw precision against recall.

    Args:
        recall: [K] 0 to 1, rising.
        precision: [K] 0 to 1.
        marks: Name -> (recall, precision) of a threshold, at most two.
    """
    plot = Plot(48, 10, 296, 288, (0, 1), (0, 1))
    quarters = np.linspace(0, 1, 5).tolist()
    parts = plot.frame(quarters, quarters, percent, percent)
    points = list(zip(recall.tolist(), precision.tolist(), strict=True))
    parts.append(plot.line([(0.0, points[0][1]), *points], "a", dots=0))
    for n, (name, (x, y)) in enumerate(marks.items()):
        u, v = plot.to_pixels(x, y)
        where = f"{name}: precision {percent(y)}, recall {percent(x)}"
        row = plot.top + plot.height - 34 + 18 * n  # beside the curve, in the lower left
        shape = tag("title", where), _mark(n, u, v)
        parts.append(tag("g", *shape))
        parts += [_mark(n, plot.left + 14, row), text(plot.left + 24, row + 4, where)]
    parts.append(text(plot.left + plot.width / 2, 334, "recall", "middle"))
    parts.append(_upright(plot, "precision"))
    return picture(360, 340, "Precision against recall, a point for each threshold", parts)


def _mark(number: int, u: float, v: float) -> Markup:
    """Draw the mark of a threshold: a disc for number 0, a diamond for any other."""
    if not number:
        return tag("circle", class_="mark b", cx=u, cy=v, r=5)
    corners = [(0, -6), (6, 0), (0, 6), (-6, 0)]
    points = " ".join(f"{u + x:.1f},{v + y:.1f}" for x, y in corners)
    return tag("polygon", class_="mark c", points=points)


def training_curves(history: Sequence[Entry], lowest: float) -> Markup:
    """Draw shares of right answers and, below, the loss against epochs.

    Args:
        history: The measurements in order, with `epoch`.
        lowest: The share at the bottom of the upper plot, 0 to 1.
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
    label = f"Training over {last:g} epochs; right answers at its end: {', '.join(final)}"
    return picture(280, 212, label, parts)


def lowest_share(histories: Iterable[Sequence[Entry]]) -> float:
    """Return a round share below all shares of some histories, as a common start of their axes."""
    minimum = min(
        (y for history in histories for name in SERIES for _, y in _points(history, name)),
        default=0.0,
    )
    return min(math.floor(minimum * 10) / 10, 0.9)


def _points(history: Sequence[Entry], name: str) -> list[tuple[float, float]]:
    """Return (epoch, value) of each measurement that is finite."""
    pairs: list[tuple[Any, Any]] = [(entry["epoch"], entry.get(name)) for entry in history]
    return [(x, y) for x, y in pairs if y is not None and math.isfinite(y)]


SIZES = ((1, 5), (6, 10), (11, 20), (21, 30), (31, 50), (51, 75), (76, 99), (100, 100), (101, 0))
"""Smallest and largest number of images of a landmark for each bar; 0: no largest one."""


def size_chart(before: Iterable[int], after: Iterable[int]) -> Markup:
    """Draw the numbers of landmarks by number of images.

    Args:
        before: The images of each landmark in the source.
        after: The kept images of each landmark.
    """
    names = [
        f"{low}+" if not high else f"{low}–{high}" if low < high else f"{low}"
        for low, high in SIZES
    ]
    edges = [low for low, _ in SIZES]
    counts = []
    for sizes in (before, after):
        bar = np.searchsorted(edges, np.fromiter(sizes, np.int64), side="right")
        counts.append(np.bincount(bar, minlength=len(edges) + 1)[1:])
    largest = max(int(max(c.max() for c in counts)), 1)
    plot = Plot(52, 10, 560, 190, (0, len(names)), (0, largest))
    parts = plot.frame([], ticks(largest), str, lambda y: compact(int(y)))
    for i, name in enumerate(names):
        for k, (kind, words) in enumerate((("muted", "in the source"), ("a", "kept"))):
            n = int(counts[k][i])
            u, v = plot.to_pixels(i + 0.14 + 0.36 * k, n)
            w = 0.36 * plot.width / len(names)
            box = tag("rect", class_=f"bar {kind}", x=u, y=v, width=w, height=200 - v)
            title = tag("title", f"{n:,} landmarks with {name} images {words}")
            parts.append(tag("g", title, box))
        u, _ = plot.to_pixels(i + 0.5, 0)
        parts.append(text(u, 216, name, "middle"))
    parts.append(text(332, 236, "images per landmark", "middle"))
    return picture(624, 242, "Landmarks by their number of images", parts)

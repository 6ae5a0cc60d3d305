"""Draw two photos side by side, with lines between the features that match."""

import textwrap

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

DPI = 100
GAP = 12  # pixels between the photos and around them
FONT = 9.5  # points
LINE_HEIGHT, LETTER_WIDTH = 19, 8  # approximate size of the caption's text, in pixels


def draw(
    image_a: NDArray[np.uint8],
    image_b: NDArray[np.uint8],
    points_a: NDArray[np.float32],
    points_b: NDArray[np.float32],
    inlier: NDArray[np.bool_],
    caption: str,
    *,
    others: bool = True,
    side: int = 600,
) -> Image.Image:
    """Draw two photos side by side with their matches.

    Args:
        image_a: [H, W, 3] uint8 RGB, on the left.
        image_b: [H', W', 3] uint8 RGB, on the right.
        points_a: [K, 2] (x, y) in pixels of `image_a`; (0, 0) is the centre of the first pixel.
        points_b: [K, 2] (x, y) in pixels of `image_b`.
        inlier: [K] whether a match is drawn as a strong line, coloured by its height on the left.
        caption: Lines of text above the photos; long lines are wrapped.
        others: Whether to draw the remaining matches as faint lines.
        side: Longest side of each photo in the picture, in pixels.

    Returns:
        An RGB image.
    """
    boxes = []
    for image in (image_a, image_b):
        height, width = image.shape[:2]
        boxes.append((width * side / max(height, width), height * side / max(height, width)))
    (width_a, height_a), (width_b, height_b) = boxes
    total = round(width_a + width_b + 3 * GAP)
    lines = [
        wrapped
        for line in caption.splitlines()
        for wrapped in textwrap.wrap(line, max(20, (total - 2 * GAP) // LETTER_WIDTH))
    ]
    top = GAP + LINE_HEIGHT * len(lines)
    photos = max(height_a, height_b)
    figure = Figure(figsize=(total / DPI, (top + photos + 2 * GAP) / DPI), dpi=DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    corners = [
        np.array([GAP, top + GAP + (photos - height_a) / 2]),
        np.array([2 * GAP + width_a, top + GAP + (photos - height_b) / 2]),
    ]
    ends = []
    for image, points, corner, box in zip(
        (image_a, image_b), (points_a, points_b), corners, boxes, strict=True
    ):
        (x, y), (width, height) = corner, box
        axes.imshow(image, extent=(x, x + width, y + height, y), interpolation="antialiased")
        ends.append(corner + (np.asarray(points, float) + 0.5) * (width / image.shape[1]))
    axes.set(xlim=(0, total), ylim=(top + photos + 2 * GAP, 0), aspect="auto")
    for number, line in enumerate(lines):
        x, y = GAP, GAP + LINE_HEIGHT * (number + 0.5)
        weight = "normal" if number else "bold"
        axes.text(x, y, line, fontsize=FONT, weight=weight, va="center", parse_math=False)
    segments = np.stack(ends, 1)
    if others:
        faint = LineCollection(list(segments[~inlier]), colors="0.5", linewidths=0.5, alpha=0.7)
        axes.add_collection(faint)
    strong = segments[inlier]
    rank = np.argsort(np.argsort(strong[:, 0, 1])) / max(len(strong) - 1, 1)
    colours = matplotlib.colormaps["gist_rainbow"](0.9 * rank)
    thick = float(np.clip(12 / np.sqrt(max(len(strong), 1)), 0.3, 1.2))
    lines_between = LineCollection(list(strong), colors=colours, linewidths=thick, alpha=0.75)
    axes.add_collection(lines_between)
    for end in (0, 1):
        x, y = strong[:, end].T
        axes.scatter(x, y, s=12 * thick, c=colours, edgecolors="black", lw=thick / 3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())

"""Draw docs/way-of-the-data.svg, the picture of all stages: python docs/way_of_the_data.py.

Boxes have a background of their own, and text outside of boxes is in a grey that is readable on
GitHub's light and dark backgrounds.
"""

from pathlib import Path
from xml.sax.saxutils import escape

DRIVER, TASKS, MODEL, TRAIN, SERVE, STORE = "driver", "tasks", "model", "train", "serve", "store"
COLOURS = {  # background, outline, text
    DRIVER: ("#e8eaed", "#8b949e", "#24292f"),
    TASKS: ("#cfe3f7", "#3b7fc4", "#0b2e52"),
    MODEL: ("#fbdfc0", "#d07a1e", "#4f2a00"),
    TRAIN: ("#cdebd3", "#3a9a55", "#0d3b1c"),
    SERVE: ("#e4d7f5", "#8a5cc7", "#33145c"),
    STORE: ("#fff8dc", "#b59b3a", "#4a3c00"),
}
GREY = "#7d8590"
ROWS = [  # (stage, what it does, tables that it writes, kind)
    [
        ("sample", "chooses from train.csv", "catalog, landmarks", DRIVER),
        ("ingest", "sorts by landmark", "images", TASKS),
        ("dedupe", "finds duplicates", "hashes, duplicates", TASKS),
        ("extract", "SIFT or DELF features", "features", TASKS),
        ("match", "verifies pairs", "pairs", TASKS),
    ],
    [
        ("describe", "vectors of photos", "descriptors", MODEL),
        ("prune", "11 inliers, or similar", "kept", TASKS),
        ("detect", "objects (optional)", "detections", MODEL),
        ("clean", "rules and verdicts", "cleaned", TASKS),
        ("group", "11 groups, split", "groups", TASKS),
    ],
    [
        ("resize", "224 x 224 squares", "examples, background", TASKS),
        ("trunk", "network weights", "models/trunk", TRAIN),
        ("embed", "vectors of views", "embeddings", MODEL),
        ("index", "nearest photos", "models/index", TASKS),
        ("train", "one head per group", "models/groups", TRAIN),
    ],
]
WIDTH, BOX, HIGH, GAP, LEFT, TOP, STEP = 960, 150, 66, 34, 38, 104, 132


def box(x: float, y: float, lines: list[str], kind: str, width: int = BOX, high: int = HIGH) -> str:
    """Return a box as SVG. The first line is its title; `x` and `y` are its top left, in pixels."""
    fill, stroke, text = COLOURS[kind]
    out = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{high}" rx="8" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="1.5"/>'
    ]
    sizes = [("15", "600"), *[("12", "400")] * (len(lines) - 1)]
    first = y + high / 2 - 9 * (len(lines) - 1) + 5
    for number, (words, (size, weight)) in enumerate(zip(lines, sizes, strict=True)):
        out.append(
            f'<text x="{x + width / 2}" y="{first + 19 * number}" text-anchor="middle" '
            f'font-size="{size}" font-weight="{weight}" fill="{text}">{escape(words)}</text>'
        )
    return "\n".join(out)


def arrow(points: list[tuple[float, float]]) -> str:
    """Return a line through points (x, y) as SVG, with an arrowhead at its end."""
    path = " ".join(f"{x},{y}" for x, y in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="{GREY}" stroke-width="1.8" '
        'marker-end="url(#head)"/>'
    )


def note(x: float, y: float, words: str, anchor: str = "middle", size: int = 12) -> str:
    """Return text outside of boxes as SVG; `y` is its baseline."""
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" fill="{GREY}">'
        f"{escape(words)}</text>"
    )


def column(number: int) -> float:
    """Return the x of the left edge of a column of boxes, counted from 0."""
    return LEFT + number * (BOX + GAP)


def draw() -> str:
    """Return the picture as the text of an SVG file."""
    parts = [
        box(column(0), 14, ["SOURCE", "train.csv, tars, class folders"], STORE, 2 * BOX + GAP, 50),
        note(
            column(2) + 6, 30, "SOURCE is read in place: each tar once, from start to end.", "start"
        ),
        note(
            column(2) + 6,
            50,
            "Each stage writes tables in ROOT; their names are in grey.",
            "start",
        ),
    ]
    for number in (0, 1):
        x = column(number) + BOX / 2
        parts.append(arrow([(x, 64), (x, TOP - 2)]))
    for row, stages in enumerate(ROWS):
        y = TOP + row * STEP
        for number, (stage, does, tables, kind) in enumerate(stages):
            x = column(number)
            parts += [box(x, y, [stage, does], kind), note(x + BOX / 2, y + HIGH + 17, tables)]
            if number:
                parts.append(arrow([(x - GAP + 2, y + HIGH / 2), (x - 3, y + HIGH / 2)]))
        end, turn = column(4) + BOX, y + HIGH + 38
        down = y + STEP
        parts.append(
            arrow(
                [
                    (end, y + HIGH / 2),
                    (end + 14, y + HIGH / 2),
                    (end + 14, turn),
                    (LEFT - 18, turn),
                    (LEFT - 18, down + HIGH / 2),
                    (LEFT - 3, down + HIGH / 2),
                ]
            )
        )
    y = TOP + 3 * STEP
    parts += [
        box(column(0), y, ["finetune", "networks (optional)"], TRAIN),
        note(column(0) + BOX / 2, y + HIGH + 17, "models/finetuned"),
        box(column(1), y, ["evaluate", "top-1, GAP, threshold"], MODEL),
        note(column(1) + BOX / 2, y + HIGH + 17, "predictions"),
        box(column(2), y, ["export", "packs what predicts"], DRIVER),
        box(column(3), y, ["bundle", "with checksums"], STORE),
        box(column(4), y - 6, ["predict → csv"], MODEL, BOX, 34),
        box(column(4), y + 38, ["serve → HTTP"], SERVE, BOX, 34),
        arrow([(column(4) - GAP + 2, y + 26), (column(4) - 3, y + 12)]),
        arrow([(column(4) - GAP + 2, y + 40), (column(4) - 3, y + 54)]),
    ]
    for number in (1, 2, 3):
        x = column(number)
        parts.append(arrow([(x - GAP + 2, y + HIGH / 2), (x - 3, y + HIGH / 2)]))
    legend = [
        (DRIVER, "driver only"),
        (TASKS, "Ray Data tasks"),
        (MODEL, "Ray Data workers that hold a model"),
        (TRAIN, "Ray Train"),
        (SERVE, "Ray Serve"),
        (STORE, "files"),
    ]
    x, y = LEFT, TOP + 3 * STEP + HIGH + 50
    for kind, words in legend:
        fill, stroke, _ = COLOURS[kind]
        parts.append(
            f'<rect x="{x}" y="{y - 11}" width="14" height="14" rx="3" fill="{fill}" '
            f'stroke="{stroke}"/>'
        )
        parts.append(note(x + 20, y, words, "start"))
        x += 38 + 6.6 * len(words)
    high = y + 16
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high}" '
            f'width="{WIDTH}" height="{high}" role="img" '
            'font-family="-apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
            "<title>From SOURCE through 18 stages to a bundle; each stage writes tables</title>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{GREY}"/>'
            "</marker></defs>",
            *parts,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    Path(__file__).with_name("way-of-the-data.svg").write_text(draw())

"""Show the funnel, the images in and out of each stage with reasons, as table, JSON and picture."""

import io
import json
from typing import Any

from rich.table import Table

from landmark_ray.config import STAGES
from landmark_ray.data.root import Root
from landmark_ray.runtime import receipts
from landmark_ray.runtime.progress import console

FILES = ("reports/funnel.json", "reports/funnel.png")

Records = dict[str, dict[str, Any]]

DRAWN = STAGES[: STAGES.index("resize") + 1]
"""The stages in the picture; later stages drop no images."""


def show(records: Records) -> None:
    """Print the funnel as a table."""
    table = Table("stage", title="Images in and out of each stage")
    for name in ("images in", "images out", "classes in", "classes out", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("reasons for dropping; other counts", overflow="fold")
    for stage, record in records.items():
        f = record["funnel"]
        counts = [f"{f[k]:,}" for k in ("images_in", "images_out")]
        classes = [f"{f[k]:,}" if f["classes_in"] else "" for k in ("classes_in", "classes_out")]
        table.add_row(stage, *counts, *classes, f"{record['seconds']:.1f}", _describe(f))
    console().print(table)


def _describe(funnel: dict[str, Any]) -> str:
    """Describe the reasons and the other counts of a stage in one line."""
    reasons = [f"{n:,} {k}" for k, n in sorted(funnel["why"].items(), key=lambda x: -x[1]) if n]
    counters = [f"{k}: {n:,}" for k, n in sorted(funnel["facts"].items(), key=_natural_key) if n]
    return "; ".join(filter(None, [", ".join(reasons), ", ".join(counters)]))


def _natural_key(item: tuple[str, int]) -> tuple[str, int]:
    """Return a key that sorts "group 2" before "group 10"."""
    word, _, number = item[0].rpartition(" ")
    return (word, int(number)) if number.isdigit() else (item[0], 0)


def store(records: Records, root: Root) -> None:
    """Write `reports/funnel.json` and `reports/funnel.png` under the root."""
    value = {s: {**r["funnel"], "seconds": r["seconds"]} for s, r in records.items()}
    picture = draw({s: r for s, r in records.items() if s in DRAWN})
    text = json.dumps(value, indent=1).encode()
    receipts.write(root, dict(zip(FILES, (text, picture), strict=True)))


def draw(records: Records) -> bytes:
    """Draw a bar of kept and dropped images for each stage, with reasons; return it as PNG."""
    from matplotlib.figure import Figure  # takes half a second, which --help need not wait for

    figure = Figure(figsize=(11, 0.7 * len(records) + 1.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    total = max(r["funnel"]["images_in"] for r in records.values())
    for row, record in enumerate(records.values()):
        f = record["funnel"]
        axes.barh(row, f["images_out"], color="#3b6e8f", height=0.62)
        axes.barh(
            row,
            f["images_in"] - f["images_out"],
            left=f["images_out"],
            color="#d98e73",
            height=0.62,
        )
        kept = f"{f['images_out']:,} images, {f['classes_out']:,} landmarks"
        inside = f["images_out"] > total / 3
        x, colour = (total / 100, "white") if inside else (f["images_in"] + total / 100, "black")
        axes.text(x, row, kept, color=colour, va="center", fontsize=9)
        reasons = sorted(f["why"].items(), key=lambda item: -item[1])
        lines = [f"{n:,} {reason.replace('_', ' ')}" for reason, n in reasons if n]
        short = ", ".join(lines[:3]) + (f" and {len(lines) - 3} more" if len(lines) > 3 else "")
        axes.text(1.01, row, short, va="center", fontsize=9, transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(records)), list(records))
    axes.invert_yaxis()
    axes.set_xlabel("images; blue: kept, red: dropped for the reasons on the right")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()

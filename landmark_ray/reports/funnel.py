"""The funnel: what went into each stage, what came out, and why; as a table, JSON and a picture."""

import io
import json
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from landmark_ray.storage import Tables

Records = dict[str, dict[str, Any]]


def show(records: Records) -> None:
    """Print the funnel."""
    table = Table("stage", title="What went in, what came out, and why")
    for name in ("images in", "out", "classes in", "out", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("why, and what else was counted", overflow="fold")
    for stage, record in records.items():
        f = record["funnel"]
        counts = [f"{f[k]:,}" for k in ("images_in", "images_out", "classes_in", "classes_out")]
        table.add_row(stage, *counts, f"{record['seconds']:.1f}", _words(f))
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)


def _words(funnel: dict[str, Any]) -> str:
    why = [f"{n:,} {k}" for k, n in sorted(funnel["why"].items(), key=lambda x: -x[1]) if n]
    facts = [f"{k}: {n:,}" for k, n in sorted(funnel["facts"].items(), key=_natural) if n]
    return "; ".join(filter(None, [", ".join(why), ", ".join(facts)]))


def _natural(item: tuple[str, int]) -> tuple[str, int]:
    word, _, number = item[0].rpartition(" ")
    return (word, int(number)) if number.isdigit() else (item[0], 0)


def store(records: Records, tables: Tables) -> None:
    """Write `reports/funnel.json` and `reports/funnel.png` under the root."""
    value = {s: {**r["funnel"], "seconds": r["seconds"]} for s, r in records.items()}
    tables.write("reports/funnel.json", json.dumps(value, indent=1).encode())
    tables.write("reports/funnel.png", draw(records))


def draw(records: Records) -> bytes:
    """A PNG: for each stage a bar of what came out and, after it, what did not, by reason."""
    figure = Figure(figsize=(11, 0.75 * len(records) + 1.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    colours = ["#d98e73", "#e3b778", "#b9a3c9", "#9fb8ad", "#c9c9c9", "#8f8f8f"]
    reasons: dict[str, str] = {}
    total = max(r["funnel"]["images_in"] for r in records.values())
    for row, record in enumerate(records.values()):
        f = record["funnel"]
        axes.barh(row, f["images_out"], color="#3b6e8f", height=0.62)
        if f["images_out"] > total / 4:
            text = f"{f['images_out']:,} images, {f['classes_out']:,} classes"
            axes.text(total / 100, row, text, color="white", va="center", fontsize=9)
        left = f["images_out"]
        for reason, count in sorted(f["why"].items(), key=lambda item: -item[1]):
            if count:
                colour = reasons.setdefault(reason, colours[len(reasons) % len(colours)])
                axes.barh(row, count, left=left, color=colour, height=0.62)
                left += count
    axes.set_yticks(range(len(records)), list(records))
    axes.invert_yaxis()
    axes.set_xlabel("images")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    handles = [axes.barh(0, 0, color=c, label=r) for r, c in reasons.items()]
    if handles:
        axes.legend(
            handles=handles,
            title="left out",
            frameon=False,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            fontsize=9,
        )
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()

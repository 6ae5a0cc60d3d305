"""Show how well the models recognise photos: a table, JSON, and a page with all its pictures."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import pyarrow as pa
from rich.table import Table

from landmark_ray.config import STAGES, Config
from landmark_ray.data.root import Root
from landmark_ray.reports import charts
from landmark_ray.reports.commands import shown_options
from landmark_ray.reports.image_set import PAIRS, SETS, Figures, ImageSet
from landmark_ray.reports.templates import template
from landmark_ray.reports.thumbnails import Thumbnails
from landmark_ray.runtime import receipts
from landmark_ray.runtime.progress import console

FILES = ("reports/evaluation.json", "reports/evaluation.html")

WITNESSES = {
    "ensemble": "all witnesses",
    "unverified": "heads and index",
    "heads": "heads alone",
    "index": "index alone",
    "closed": "reference's rule",
}
"""Key of a summary -> the name of what answered."""

PACKAGES = ("landmark_ray", "ray", "tensorflow", "keras", "numpy", "pyarrow", "pillow")

OTHERS = 24  # photos without a landmark
NOTES = 20  # warnings about the test set's files


def store(figures: Figures, root: Root, config: Config) -> None:
    """Write `reports/evaluation.json` and `.html` under the root, and print the main figures."""
    texts = json.dumps(figures, indent=1), page(figures, root, config)
    receipts.write(root, {n: t.encode() for n, t in zip(FILES, texts, strict=True)})
    show(figures, config)
    print(f"All figures: {root.shown}/reports/evaluation.html")


def show(figures: Figures, config: Config) -> None:
    """Print a table of each set: lines for the groups, and for each of `WITNESSES`."""
    models = {model["group"]: model for model in figures["models"]}
    landmarks = sum(model["landmarks"] for model in models.values())
    for name in (name for name in SETS if name in figures):
        table = Table("", title=SETS[name][0], caption=strangers(figures[name]))
        for column in ("landmarks", "images", "top-1", "top-5", "GAP", "ECE"):
            table.add_column(column, justify="right")
        summaries = _by_group(figures[name])
        for group in sorted(models | summaries):
            label = f"group {group} ({images_of(group, config.group.edges)})"
            of_group = models[group]["landmarks"] if group in models else 0
            table.add_row(label, f"{of_group:,}", *_cells(summaries.get(group, {}), decimal))
        table.add_section()
        for key, label in WITNESSES.items():
            if key in figures[name]:
                table.add_row(label, f"{landmarks:,}", *_cells(figures[name][key], measured))
        console().print(table)


def _cells(summary: Mapping[str, Any], exactly: Callable[[Any], str]) -> list[str]:
    shares = [percent(summary.get(name)) for name in ("top1", "top5")]
    exact = [exactly(summary.get(name)) for name in ("gap", "ece")]
    return [f"{summary.get('images', 0):,}", *shares, *exact]


def strangers(figures: Figures) -> str:
    """Say how many photos of no known landmark the threshold accepts; empty without any."""
    counts = figures.get("strangers", {})
    shares = [(n["accepted"], n["images"], kind.replace("_", " ")) for kind, n in counts.items()]
    parts = [f"{part:,} of {n:,} photos of {kind}" for part, n, kind in shares if n]
    return f"Taken for a landmark that the models know: {', '.join(parts)}." if parts else ""


def page(figures: Figures, root: Root, config: Config) -> str:
    """Return the page as HTML, with all pictures in it."""
    sets = [ImageSet.read(key, figures, root) for key in SETS if key in figures]
    answers = sets[0].answers
    threshold = figures["validation"]["ensemble"]["threshold"]
    others = answers.accepted_others(threshold, OTHERS)
    pairs = [(row["landmark"], row["named"]) for row in sets[0].confused]
    mistakes = answers.mistakes(pairs)
    labels = sets[0].rows["label"].take(pa.array(others, pa.int64())).to_pylist()
    thumbnails = Thumbnails(root)
    thumbnails.add_names(
        {int(answers.named[i]) for i in others}.union(*(s.landmarks for s in sets))
    )
    thumbnails.add_photos("examples", mistakes.values(), {landmark for landmark, _ in pairs})
    shown = thumbnails.add_example_of({named for _, named in pairs})
    thumbnails.add_photos("background", [answers.image_ids[i] for i in others], set(labels))
    histories = [model["history"] for model in figures["models"] if model.get("history")]
    lowest = charts.lowest_share(histories)
    trunk = figures.get("trunk", {}).get("history")
    filters = {"percent": percent, "decimal": decimal, "duration": duration, "measured": measured}
    return template("evaluation.html", strangers=strangers, **filters).render(
        uri=root.shown,
        warning=figures["warning"],
        synthetic=figures["synthetic"],
        sets=sets,
        thresholds={"threshold": threshold, "floor": figures["floor"]},
        groups=group_rows(figures, root, config.group.edges),
        trunk=trunk and charts.training_curves(trunk, charts.lowest_share([trunk])),
        lowest=lowest,
        curves=partial(charts.training_curves, lowest=lowest),
        mistakes=mistakes,
        shown=shown,
        others=[
            (answers.image_ids[i], int(answers.named[i]), answers.confidences[i]) for i in others
        ],
        thumbnails=thumbnails,
        most={"pairs": PAIRS, "others": OTHERS, "notes": NOTES},
        witnesses=WITNESSES,
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        stages={s: r for s in STAGES if (r := root.read_json(f"_ledger/{s}.json"))},
        options=shown_options(config),
    )


def group_rows(figures: Figures, root: Root, edges: Sequence[int]) -> list[dict[str, Any]]:
    """Return a row for each group of the configuration, including groups without a landmark."""
    rows = root.dataset("examples").to_table(["landmark_id", "group", "split"])
    counts = rows.group_by(["group", "split"]).aggregate([([], "count_all")]).to_pylist()
    images = {(row["group"], row["split"]): row["count_all"] for row in counts}
    counts = rows.group_by(["group"]).aggregate([("landmark_id", "count_distinct")]).to_pylist()
    landmarks = {row["group"]: row["landmark_id_count_distinct"] for row in counts}
    models = {model["group"]: model for model in figures["models"]}
    summaries = {key: _by_group(figures[key]) for key in SETS if key in figures}
    return [
        {
            "group": group,
            "images_of": images_of(group, edges),
            "landmarks": landmarks.get(group, 0),
            "train": images.get((group, "train"), 0),
            "model": models.get(group),
            "summaries": {key: by_group.get(group) for key, by_group in summaries.items()},
        }
        for group in range(1, len(edges) + 1)
    ]


def _by_group(figures: Figures) -> dict[int, Figures]:
    """Return the summary of each group; JSON has strings as keys, and this has numbers."""
    return {int(group): summary for group, summary in figures["groups"].items()}


def images_of(group: int, edges: Sequence[int]) -> str:
    """Say how many images a landmark of a group has."""
    first = edges[group - 1]
    if group == len(edges):
        return f"{first} or more"
    last = edges[group] - 1
    return f"{first} to {last}" if first < last else f"{first}"


def percent(share: float | None) -> str:
    """Format a share from 0 to 1 as a percentage, and None or NaN as a dash."""
    return "–" if share is None or share != share else f"{100 * share:.1f}%"


def decimal(value: float | None) -> str:
    """Format a number with three decimals, and None or NaN as a dash."""
    return "–" if value is None or value != value else f"{value:.3f}"


def measured(value: Any) -> str:
    """Format a figure of a set, or say that it could not be measured."""
    return decimal(value) if isinstance(value, float) else "not measured"


def duration(seconds: float | None) -> str:
    """Format seconds in their two largest units, and None as a dash."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

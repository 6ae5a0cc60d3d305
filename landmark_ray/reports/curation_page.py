"""The curation page: which images were discarded, and why; a person can mark corrections on it.

The page is one HTML file with all pictures in it.
"""

import json
import platform
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from landmark_ray.config import STAGES, Config
from landmark_ray.data.root import Root
from landmark_ray.data.verdicts import COLUMNS, read_verdicts
from landmark_ray.reports.charts import size_chart
from landmark_ray.reports.commands import rows_command, shown_options, verdicts_command
from landmark_ray.reports.evaluation_page import PACKAGES, duration
from landmark_ray.reports.galleries import DRAWN, REASONS, SAMPLE, Decisions
from landmark_ray.reports.match_components import divided_landmarks
from landmark_ray.reports.match_figures import MatchFigures
from landmark_ray.reports.templates import template
from landmark_ray.reports.thumbnails import Thumbnails
from landmark_ray.runtime import ledger, receipts
from landmark_ray.runtime.progress import ProgressBar

PAGE = "reports/curation.html"

CONFLICTS = 60  # photos in the section of label conflicts
REJECTS = 5  # examples of a reason for rejection


def store(root: Root, config: Config) -> None:
    """Write `reports/curation.html` under the root."""
    receipts.write(root, {PAGE: page(root, config).encode()})


def page(root: Root, config: Config) -> str:
    """Return the page as HTML."""
    records = {s: r for s in STAGES if (r := ledger.read(root, s)) and "funnel" in r}
    decisions = Decisions(root, config)
    galleries = decisions.galleries()
    classes = decisions.classes(root)
    copies, conflicts, clusters = duplicates(root)
    cards = [card for gallery in galleries for card in gallery.cards]
    divided = []
    if config.compares or config.match.mode == "exhaustive":  # otherwise most links are not known
        divided = divided_landmarks(root, config.match.min_inliers)
    shown = {card.image_id for card in cards}
    shown |= {n.image_id for card in cards for n in card.neighbours}
    shown |= {i for landmark in divided for part in landmark.parts for i in part.shown}
    match_figures = MatchFigures(root, config)
    drawn = [card for gallery in galleries for card in gallery.cards[:DRAWN] if card.partner]
    with ProgressBar("report", len(drawn), unit="matches") as progress_bar:
        matches = {}
        for image, match in match_figures.draw([(card.image_id, card.partner) for card in drawn]):
            matches[image] = match
            progress_bar.add(1)
    pairs = [*copies, *conflicts]
    photos = match_figures.photos(
        shown | {row[name] for row in pairs for name in ("image_id", "partner")}
    )
    thumbnails = Thumbnails(root)
    landmarks = {card.landmark_id for card in cards} | {d.landmark_id for d in divided}
    landmarks |= {n.landmark_id for card in cards for n in card.neighbours}
    thumbnails.add_names(landmarks.union(*(row["landmarks"] for row in pairs)))
    verdicts = read_verdicts(config.clean.verdicts)
    marks = [
        {"verdict": v.kind, "image_id": i, "landmark_id": "", "reason": v.reason}
        for i, v in verdicts.images.items()
    ] + [
        {"verdict": v.kind, "image_id": "", "landmark_id": str(i), "reason": v.reason}
        for i, v in verdicts.landmarks.items()
    ]
    uri = root.shown
    return template("curation.html").render(
        uri=uri,
        records=records,
        galleries=galleries,
        divided=divided,
        described=not config.train.from_scratch,
        matches=matches,
        photos=photos,
        thumbnails=thumbnails,
        copies=copies,
        conflicts=conflicts,
        clusters=clusters,
        rejects=rejects(root),
        reasons=REASONS,
        sizes=size_chart(classes["images"], classes["kept"]),
        data=as_script(
            {
                "classes": classes,
                "root": uri,
                "marks": marks,
                "columns": COLUMNS,
                "key": records["clean"]["fingerprint"],
            }
        ),
        rows=lambda table, *where: rows_command(uri, table, where),
        duration=duration,
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        options=shown_options(config),
        rerun=verdicts_command(uri, config.source),
    )


def duplicates(root: Root) -> tuple[list[Any], list[Any], dict[str, int]]:
    """Read example rows of duplicates, of label conflicts, and the counts of all `duplicates`."""
    rows = root.dataset("duplicates").to_table()
    spans = pc.list_value_length(rows["landmarks"]).to_numpy()
    first = rows["image_id"].to_numpy() == rows["cluster"].to_numpy()
    counts = {
        "images": rows.num_rows,
        "exact": int(pc.sum(rows["exact"]).as_py() or 0),
        "clusters": int(first.sum()),
        "conflicts": int((spans > 1).sum()),
    }
    copies = np.flatnonzero(first & (spans == 1))
    difference = rows["difference"].to_numpy()
    copies = copies[np.argsort(-difference[copies], kind="stable")[:SAMPLE]]
    conflicts = np.flatnonzero(first & (spans > 1))[:CONFLICTS]
    examples = (rows.take(pa.array(chosen)).to_pylist() for chosen in (copies, conflicts))
    return next(examples), next(examples), counts


def rejects(root: Root) -> list[dict[str, Any]]:
    """Summarise `rejects`: a row for each kind of reason, with stage, kind, count and examples."""
    if not root.exists("rejects"):
        return []
    rows = root.dataset("rejects").to_table(["image_id", "reason", "stage"])
    kind = pc.list_element(pc.split_pattern(rows["reason"], ":", max_splits=1), 0)
    rows = rows.append_column("kind", kind)
    kinds = []
    for row in rows.group_by(["stage", "kind"]).aggregate([([], "count_all")]).to_pylist():
        same = pc.and_(pc.equal(rows["stage"], row["stage"]), pc.equal(rows["kind"], row["kind"]))
        examples = rows.filter(same).slice(0, REJECTS).select(["image_id", "reason"]).to_pylist()
        kinds.append({**row, "count": row["count_all"], "examples": examples})
    return sorted(kinds, key=lambda row: (STAGES.index(row["stage"]), -row["count"]))


def as_script(value: Any) -> Markup:
    """Return a value as JSON that is safe inside a script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))

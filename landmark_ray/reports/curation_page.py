"""What was thrown away, and why: a page that needs nothing but itself, and takes corrections."""

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from landmark_ray.config import STAGES, Config
from landmark_ray.data.root import Root
from landmark_ray.data.verdicts import COLUMNS, read_verdicts
from landmark_ray.kernels.landmark_names import readable
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.reports.charts import size_chart
from landmark_ray.reports.commands import rows_command
from landmark_ray.reports.evaluation_page import PACKAGES, duration
from landmark_ray.reports.match_figures import MatchFigures
from landmark_ray.reports.templates import template
from landmark_ray.reports.thumbnails import Thumbnails
from landmark_ray.runtime import ledger, receipts
from landmark_ray.runtime.progress import ProgressBar

PAGE = "reports/curation.html"

SAMPLE = 24  # cards of a gallery
DRAWN = 12  # cards of a gallery whose match is drawn
CONFLICTS = 60  # photos under several landmarks
REJECTS = 5  # examples of a reason
LETTERS = 60  # of a name in the table of classes

REASONS = {
    "unverified": "No other photo of the landmark confirms it",
    "over_cap": "The landmark has enough photos without it",
    "no_building": "People, plants or water, and no building",
    "people_class": "Most photos of the landmark show people",
    "conflict": "The same photo is filed under other landmarks, too",
    "duplicate": "Another copy of the photo stays",
    "dropped": "People decided so",
    "small_class": "Too few photos of the landmark are left",
}


@dataclass(frozen=True)
class Card:
    """An image in a gallery."""

    image_id: str
    landmark_id: int
    reason: str
    note: str
    verdict: str
    partner: str
    inliers: int


@dataclass(frozen=True)
class Gallery:
    """Some images of a kind.

    Attributes:
        key: of the section.
        title: what they have in common.
        explained: what a person should know.
        count: all of them.
        command: that lists all.
        cards: some.
    """

    key: str
    title: str
    explained: str
    count: int
    command: str
    cards: list[Card]


class Decisions:
    """The rows of `cleaned` beside those of `kept`."""

    def __init__(self, root: Root, config: Config) -> None:
        """Read both; of 2 million images half a GB."""
        self._config, self._root = config, root.shown
        self._rows = root.dataset("cleaned").to_table()
        kept = root.dataset("kept").to_table(["image_id", "partner", "inliers"])
        if not self._rows["image_id"].equals(kept["image_id"]):
            kept = kept.take(pc.index_in(self._rows["image_id"], kept["image_id"]))
        self._kept = kept
        self.landmarks = self._rows["landmark_id"].to_numpy()
        self.keep = self._rows["keep"].to_numpy()
        self.reasons = self._rows["reason"].to_numpy()
        self.inliers = kept["inliers"].to_numpy()

    def gallery(
        self,
        key: str,
        title: str,
        explained: str,
        command: str,
        rows: np.ndarray,
        chosen: np.ndarray,
    ) -> Gallery:
        """Of some rows those that are chosen."""
        place = pa.array(chosen)
        said = self._rows.select(["image_id", "landmark_id", "reason", "note", "verdict"])
        both = zip(said.take(place).to_pylist(), self._kept.take(place).to_pylist(), strict=True)
        cards = [Card(**row, partner=k["partner"], inliers=k["inliers"]) for row, k in both]
        return Gallery(key, title, explained, len(rows), command, cards)

    def some(self, rows: np.ndarray) -> np.ndarray:
        """A random choice."""
        ids = self._rows["image_id"].take(pa.array(rows)).to_numpy(zero_copy_only=False)
        return rows[np.argsort(rank_key(ids, self._config.seed), kind="stable")[:SAMPLE]]

    def galleries(self) -> list[Gallery]:
        """One for each reason, and the doubtful ones of both sides first."""
        root, least = self._root, self._config.match.min_inliers
        found = []
        near = np.flatnonzero((self.reasons == "unverified") & (self.inliers > 0))
        if len(near):
            order = np.argsort(-self.inliers[near], kind="stable")[:SAMPLE]
            where = ("reason=unverified", "inliers>0")
            found.append(
                self.gallery(
                    "nearly",
                    "Nearly verified, and gone",
                    f"The best match of each has fewer than the {least} inliers that are asked "
                    "for. Those with most of them come first.",
                    rows_command(root, "kept", where),
                    near,
                    near[order],
                )
            )
        stay = np.flatnonzero(self.keep)
        order = np.argsort(self.inliers[stay], kind="stable")[:SAMPLE]
        found.append(
            self.gallery(
                "borderline",
                "Only just verified, and kept",
                "Their best match has the fewest inliers of all that stay.",
                rows_command(root, "cleaned", ("keep=true",)),
                stay,
                stay[order],
            )
        )
        for reason, title in REASONS.items():
            rows = np.flatnonzero(self.reasons == reason)
            if len(rows):
                command = rows_command(root, "cleaned", (f"reason={reason}",))
                words = f"A random choice of {min(SAMPLE, len(rows))}."
                chosen = self.some(rows)
                found.append(self.gallery(reason, title, words, command, rows, chosen))
        return found

    def classes(self, root: Root) -> dict[str, list[Any]]:
        """The columns of the table of classes."""
        usable = np.unique(self.landmarks, return_counts=True)
        stay = dict(zip(*np.unique(self.landmarks[self.keep], return_counts=True), strict=True))
        unverified = self.reasons == "unverified"
        lost = dict(zip(*np.unique(self.landmarks[unverified], return_counts=True), strict=True))
        there = dict(zip(*usable, strict=True))
        columns = ["landmark_id", "name", "images", "chosen"]
        names = root.dataset("landmarks").to_table(columns, filter=pc.field("chosen") > 0)
        ids = names["landmark_id"].to_pylist()
        return {
            "id": ids,
            "name": [short(name) for name in names["name"].to_pylist()],
            "images": names["images"].to_pylist(),
            "usable": [int(there.get(i, 0)) for i in ids],
            "unverified": [int(lost.get(i, 0)) for i in ids],
            "kept": [int(stay.get(i, 0)) for i in ids],
        }


def short(name: str) -> str:
    """A name in few letters."""
    return readable(name)[:LETTERS]


def store(root: Root, config: Config) -> None:
    """Write `reports/curation.html` under the root."""
    receipts.write(root, {PAGE: page(root, config).encode()})


def page(root: Root, config: Config) -> str:
    """The page: HTML with all pictures in it."""
    records = {s: r for s in STAGES if (r := ledger.read(root, s)) and "funnel" in r}
    decisions = Decisions(root, config)
    galleries = decisions.galleries()
    classes = decisions.classes(root)
    copies, conflicts, clusters = duplicates(root)
    cards = [card for gallery in galleries for card in gallery.cards]
    shown = {card.image_id for card in cards}
    match_figures = MatchFigures(root, config)
    drawn = [card for gallery in galleries for card in gallery.cards[:DRAWN] if card.partner]
    with ProgressBar("report", len(drawn), unit="matches") as progress_bar:
        matches = {}
        for image, match in match_figures.draw([(card.image_id, card.partner) for card in drawn]):
            matches[image] = match
            progress_bar.add(1)
    both = [*copies, *conflicts]
    photos = match_figures.photos(shown | {row[k] for row in both for k in ("image_id", "partner")})
    thumbnails = Thumbnails(root)
    landmarks = {card.landmark_id for card in cards}
    thumbnails.add_names(landmarks.union(*(row["landmarks"] for row in both)))
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
        options=config.model_dump_json(indent=1, exclude={"cluster", "config", "redo"}),
        source=config.source or "SOURCE",
    )


def duplicates(root: Root) -> tuple[list[Any], list[Any], dict[str, int]]:
    """Some duplicates, some label conflicts, and how many there are of each."""
    rows = root.dataset("duplicates").to_table()
    spans = pc.list_value_length(rows["landmarks"]).to_numpy()
    first = rows["image_id"].to_numpy() == rows["cluster"].to_numpy()
    counts = {
        "images": rows.num_rows,
        "exact": int(pc.sum(rows["exact"]).as_py() or 0),
        "clusters": int(first.sum()),
        "conflicts": int((spans > 1).sum()),
    }
    own = np.flatnonzero(first & (spans == 1))
    apart = rows["difference"].to_numpy()
    own = own[np.argsort(-apart[own], kind="stable")[:SAMPLE]]
    several = np.flatnonzero(first & (spans > 1))[:CONFLICTS]
    return rows.take(pa.array(own)).to_pylist(), rows.take(pa.array(several)).to_pylist(), counts


def rejects(root: Root) -> list[dict[str, Any]]:
    """A row for each kind of reason: stage, kind, count, examples."""
    if not root.exists("rejects"):
        return []
    rows = root.dataset("rejects").to_table(["image_id", "reason", "stage"])
    kind = pc.list_element(pc.split_pattern(rows["reason"], ":", max_splits=1), 0)
    rows = rows.append_column("kind", kind)
    found = []
    for row in rows.group_by(["stage", "kind"]).aggregate([([], "count_all")]).to_pylist():
        own = pc.and_(pc.equal(rows["stage"], row["stage"]), pc.equal(rows["kind"], row["kind"]))
        examples = rows.filter(own).slice(0, REJECTS).select(["image_id", "reason"]).to_pylist()
        found.append({**row, "count": row["count_all"], "examples": examples})
    return sorted(found, key=lambda row: (STAGES.index(row["stage"]), -row["count"]))


def as_script(value: Any) -> Markup:
    """JSON that may stand inside a script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))

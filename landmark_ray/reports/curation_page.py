"""The curation page: which images were discarded, and why; a person can mark corrections on it.

The page is one HTML file with all pictures in it.
"""

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

SAMPLE = 24  # cards in a gallery
DRAWN = 12  # cards in a gallery whose match is drawn
CONFLICTS = 60  # photos in the section of label conflicts
REJECTS = 5  # examples of a reason for rejection
LETTERS = 60  # length of a name in the table of landmarks

REASONS = {
    "unverified": "No other photo of the landmark confirms it",
    "over_cap": "The landmark has enough photos without it",
    "no_building": "People, plants or water, and no building",
    "people_class": "Most photos of the landmark show people",
    "conflict": "The same photo is filed under other landmarks, too",
    "duplicate": "Another copy of the photo stays",
    "dropped": "A verdict drops the photo",
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
    """A section of the page that shows some images with a property in common.

    Attributes:
        key: The id of the section.
        title: The property.
        explanation: A sentence about the choice of the images.
        count: The number of all images with this property.
        command: The command that lists them.
        cards: The images that are shown.
    """

    key: str
    title: str
    explanation: str
    count: int
    command: str
    cards: list[Card]


class Decisions:
    """The rows of `cleaned`, with the best partner of each image from `kept`."""

    def __init__(self, root: Root, config: Config) -> None:
        """Read both tables, which take half a GB of memory for 2 million images."""
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
        explanation: str,
        command: str,
        rows: np.ndarray,
        chosen: np.ndarray,
    ) -> Gallery:
        """Make a gallery of the chosen ones among some rows, both given by their indices."""
        indices = pa.array(chosen)
        columns = self._rows.select(["image_id", "landmark_id", "reason", "note", "verdict"])
        cleaned, kept = (table.take(indices).to_pylist() for table in (columns, self._kept))
        cards = [
            Card(**row, partner=k["partner"], inliers=k["inliers"])
            for row, k in zip(cleaned, kept, strict=True)
        ]
        return Gallery(key, title, explanation, len(rows), command, cards)

    def sample(self, rows: np.ndarray) -> np.ndarray:
        """Choose SAMPLE rows at random, by a hash of the seed and the id."""
        ids = self._rows["image_id"].take(pa.array(rows)).to_numpy(zero_copy_only=False)
        return rows[np.argsort(rank_key(ids, self._config.seed), kind="stable")[:SAMPLE]]

    def galleries(self) -> list[Gallery]:
        """Make the galleries: the two of doubtful images first, then one for each reason."""
        root, min_inliers = self._root, self._config.match.min_inliers
        galleries = []
        near = np.flatnonzero((self.reasons == "unverified") & (self.inliers > 0))
        if len(near):
            order = np.argsort(-self.inliers[near], kind="stable")[:SAMPLE]
            where = ("reason=unverified", "inliers>0")
            galleries.append(
                self.gallery(
                    "nearly",
                    "Nearly verified, but dropped",
                    f"The best match of each image has fewer than the {min_inliers} inliers that "
                    "are required. The images with the most inliers are shown first.",
                    rows_command(root, "kept", where),
                    near,
                    near[order],
                )
            )
        stay = np.flatnonzero(self.keep)
        order = np.argsort(self.inliers[stay], kind="stable")[:SAMPLE]
        galleries.append(
            self.gallery(
                "borderline",
                "Only just verified, and kept",
                "Of all kept images, those whose best match has the fewest inliers are shown.",
                rows_command(root, "cleaned", ("keep=true",)),
                stay,
                stay[order],
            )
        )
        for reason, title in REASONS.items():
            rows = np.flatnonzero(self.reasons == reason)
            if len(rows):
                command = rows_command(root, "cleaned", (f"reason={reason}",))
                words = f"A random choice of {min(SAMPLE, len(rows))} images is shown."
                chosen = self.sample(rows)
                galleries.append(self.gallery(reason, title, words, command, rows, chosen))
        return galleries

    def classes(self, root: Root) -> dict[str, list[Any]]:
        """Return the columns of the page's table of landmarks: name -> values."""

        def images_per_landmark(landmarks: np.ndarray) -> dict[int, int]:
            return dict(zip(*np.unique(landmarks, return_counts=True), strict=True))

        usable = images_per_landmark(self.landmarks)
        kept = images_per_landmark(self.landmarks[self.keep])
        unverified = images_per_landmark(self.landmarks[self.reasons == "unverified"])
        columns = ["landmark_id", "name", "images", "chosen"]
        names = root.dataset("landmarks").to_table(columns, filter=pc.field("chosen") > 0)
        ids = names["landmark_id"].to_pylist()
        return {
            "id": ids,
            "name": [short(name) for name in names["name"].to_pylist()],
            "images": names["images"].to_pylist(),
            "usable": [int(usable.get(i, 0)) for i in ids],
            "unverified": [int(unverified.get(i, 0)) for i in ids],
            "kept": [int(kept.get(i, 0)) for i in ids],
        }


def short(name: str) -> str:
    """Shorten a landmark's name to LETTERS letters."""
    return readable(name)[:LETTERS]


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
    shown = {card.image_id for card in cards}
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
    landmarks = {card.landmark_id for card in cards}
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

"""The galleries of the curation page: images that have a property in common, a choice of each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.kernels.landmark_names import readable
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.reports.commands import rows_command

SAMPLE = 24  # cards in a gallery
DRAWN = 12  # cards in a gallery whose match is drawn
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
class Neighbour:
    """A photo that resembles another one."""

    image_id: str
    landmark_id: int


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
    neighbours: list[Neighbour]


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
    """The rows of `cleaned`, with the best partner and the neighbours of each image from `kept`."""

    def __init__(self, root: Root, config: Config) -> None:
        """Read both tables, which take half a GB of memory for 2 million images."""
        self._config, self._root = config, root.shown
        self._rows = root.dataset("cleaned").to_table()
        columns = ["image_id", "partner", "inliers", "agreement", "neighbours"]
        kept = root.dataset("kept").to_table(columns)
        if not self._rows["image_id"].equals(kept["image_id"]):
            kept = kept.take(pc.index_in(self._rows["image_id"], kept["image_id"]))
        self._kept = kept
        self.landmarks = self._rows["landmark_id"].to_numpy()
        self.keep = self._rows["keep"].to_numpy()
        self.reasons = self._rows["reason"].to_numpy()
        self.inliers = kept["inliers"].to_numpy()
        self.agreement = pc.fill_null(kept["agreement"], 0).to_numpy()

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
        landmark = self._landmarks_of({i for k in kept for i in k["neighbours"]})
        cards = [
            Card(
                **row,
                partner=k["partner"],
                inliers=k["inliers"],
                neighbours=[Neighbour(i, landmark[i]) for i in k["neighbours"]],
            )
            for row, k in zip(cleaned, kept, strict=True)
        ]
        return Gallery(key, title, explanation, len(rows), command, cards)

    def _landmarks_of(self, image_ids: set[str]) -> dict[str, int]:
        """Return the landmarks of some images: image id -> landmark id."""
        ids = pa.array(sorted(image_ids), pa.string())
        rows = self._rows.filter(pc.is_in(self._rows["image_id"], ids))
        return dict(zip(rows["image_id"].to_pylist(), rows["landmark_id"].to_pylist(), strict=True))

    def sample(self, rows: np.ndarray) -> np.ndarray:
        """Choose SAMPLE rows at random, by a hash of the seed and the id."""
        ids = self._rows["image_id"].take(pa.array(rows)).to_numpy(zero_copy_only=False)
        return rows[np.argsort(rank_key(ids, self._config.seed), kind="stable")[:SAMPLE]]

    def galleries(self) -> list[Gallery]:
        """Make the galleries: those of doubtful images first, then one for each reason."""
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
        verified = np.flatnonzero(self.reasons == "verified")
        order = np.argsort(self.inliers[verified], kind="stable")[:SAMPLE]
        galleries.append(
            self.gallery(
                "borderline",
                "Only just verified, and kept",
                "Of all kept images that a match verifies, those whose best match has the fewest "
                "inliers are shown.",
                rows_command(root, "cleaned", ("reason=verified",)),
                verified,
                verified[order],
            )
        )
        galleries += self._galleries_of_similar()
        for reason, title in REASONS.items():
            rows = np.flatnonzero(self.reasons == reason)
            if len(rows):
                command = rows_command(root, "cleaned", (f"reason={reason}",))
                words = f"A random choice of {min(SAMPLE, len(rows))} images is shown."
                chosen = self.sample(rows)
                galleries.append(self.gallery(reason, title, words, command, rows, chosen))
        return galleries

    def _galleries_of_similar(self) -> list[Gallery]:
        """Make the galleries of images that no partner verifies and that resemble others."""
        galleries, options = [], self._config.prune
        similar = np.flatnonzero(self.reasons == "similar")
        if len(similar):
            galleries.append(
                self.gallery(
                    "similar",
                    "Similar, and kept without a match",
                    "No other photo verifies these images. They stay because of the "
                    f"{options.neighbours} photos that resemble each of them most, which are shown "
                    f"below it: at least {options.agreement:.0%} are of its landmark (with a green "
                    "frame). A random choice is shown.",
                    rows_command(self._root, "cleaned", ("reason=similar",)),
                    similar,
                    self.sample(similar),
                )
            )
        nearly = np.flatnonzero((self.reasons == "unverified") & (self.agreement > 0))
        if len(nearly):
            order = np.argsort(-self.agreement[nearly], kind="stable")[:SAMPLE]
            galleries.append(
                self.gallery(
                    "mixed",
                    "Nearly similar, but dropped",
                    "No other photo verifies these images. Of the photos that resemble each of "
                    f"them most, some are of its landmark, but less than {options.agreement:.0%}. "
                    "The images with the largest share are shown first.",
                    rows_command(self._root, "kept", ("reason=unverified", "agreement>0")),
                    nearly,
                    nearly[order],
                )
            )
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
            "id": [str(i) for i in ids],  # JavaScript's numbers are exact up to 2^53 only
            "name": [short(name) for name in names["name"].to_pylist()],
            "images": names["images"].to_pylist(),
            "usable": [int(usable.get(i, 0)) for i in ids],
            "unverified": [int(unverified.get(i, 0)) for i in ids],
            "kept": [int(kept.get(i, 0)) for i in ids],
        }


def short(name: str) -> str:
    """Shorten a landmark's name to LETTERS letters."""
    return readable(name)[:LETTERS]

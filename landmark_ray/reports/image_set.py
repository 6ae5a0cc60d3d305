"""The photos of a set, with their answers, as the page of `evaluate` shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter

from landmark_ray.data.root import Root
from landmark_ray.kernels.answers import answered, halves
from landmark_ray.kernels.evaluation import FirstAnswers, first_answers, scored
from landmark_ray.kernels.fusion import Fusion
from landmark_ray.kernels.metrics import PrecisionRecall, precision_recall, reliability
from landmark_ray.reports import charts

Figures = dict[str, Any]
"""The content of `reports/evaluation.json`, or a part of it."""

SETS = {"validation": ("Validation", "predictions"), "test": ("Test set", "test_predictions")}
COLUMNS = ["image_id", "truth", "label", "group", "landmarks", "confidences"]
EVIDENCE = ["candidates", "heads", "nearest", "mean", "usual", "strangers", "inliers"]

PAIRS = 30
"""Number of pairs of confused landmarks that the page shows."""

POINTS = 300
"""Number of points that a curve is drawn with."""


@dataclass(frozen=True)
class ImageSet:
    """The validation images or the images of the test set, with their figures.

    Attributes:
        key: "validation" or "test".
        figures: The result of `kernels.evaluation.figures`.
        rows: The rows of predictions that count.
        answers: The first answers in these rows.
    """

    key: str
    figures: Figures
    rows: pa.Table
    answers: FirstAnswers

    @classmethod
    def read(cls, key: str, figures: Figures, root: Root) -> "ImageSet":
        """Read the predictions of a set, and add them to its figures."""
        rows = root.dataset(SETS[key][1]).to_table([*COLUMNS, *EVIDENCE])
        if "fusion" in figures:
            whole = key == "test"
            parts = [rows] if whole else halves(rows)
            used = [figures["fusion"]] if whole else figures["cross_fitted"]
            fusions = TypeAdapter(list[Fusion]).validate_python(used)
            rows = pa.concat_tables(map(answered, parts, fusions))
        rows = scored(rows)
        return cls(key, figures[key], rows, first_answers(rows))

    @property
    def title(self) -> str:
        """Return the heading of the set."""
        return SETS[self.key][0]

    @property
    def confused(self) -> list[dict[str, int]]:
        """Return the most frequent confusions: landmark, named, images."""
        confused: list[dict[str, int]] = self.figures["confused"][:PAIRS]
        return confused

    @property
    def landmarks(self) -> set[int]:
        """Return the landmarks whose names the page needs."""
        ids = {row[key] for row in self.confused for key in ("landmark", "named")}
        return ids | {row["landmark"] for row in self.figures["worst"]}

    @property
    def notes(self) -> list[str]:
        """Return the warnings about the files of the set."""
        notes: list[str] = self.figures.get("notes", [])
        return notes

    def group_of(self) -> dict[int, int]:
        """Return the group of each landmark: landmark -> group."""
        pairs = zip(self.answers.truth, self.rows["group"].to_pylist(), strict=True)
        return {min(truth): group for truth, group in pairs if truth}

    def charts(self, thresholds: Mapping[str, float]) -> dict[str, Any]:
        """Draw the charts of the set.

        Args:
            thresholds: Name of a threshold -> its value.

        Returns:
            `marks` (name of a threshold -> its value, F1, recall and precision), `curve` and
            `diagram` (pictures), and `bins` (rows of the diagram's numbers).
        """
        confidences, right = self.answers.confidences, self.answers.right
        curve = precision_recall(confidences, right, landmarks=self.answers.landmarks)
        recall, precision, f1 = curve.recall, curve.precision, curve.f1
        marks = {}
        for name, value in thresholds.items():
            index = accepted_from(curve, value)
            if index is not None:
                marks[name] = {"value": value, "f1": f1[index]}
                marks[name] |= {"recall": recall[index], "precision": precision[index]}
        points = thinned(curve, POINTS)
        bins = reliability(confidences, right)
        return {
            "marks": marks,
            "curve": charts.precision_recall_chart(
                recall[points],
                precision[points],
                {name: (mark["recall"], mark["precision"]) for name, mark in marks.items()},
            ),
            "diagram": charts.reliability_diagram(bins),
            "bins": list(
                zip(
                    *(bins.edges[:-1], bins.edges[1:]),
                    *(bins.count, bins.confidence, bins.accuracy),
                    strict=True,
                )
            ),
        }


def accepted_from(curve: PrecisionRecall, threshold: float) -> int | None:
    """Return the index on a curve that a threshold has, or None if it accepts nothing."""
    accepted = int((curve.thresholds >= threshold).sum())
    return accepted - 1 if accepted else None


def thinned(curve: PrecisionRecall, most: int) -> NDArray[np.int64]:
    """Choose about `most` points to draw a curve with, evenly spaced in recall.

    If precision falls while recall stays the same, both ends of the fall are among them.

    Returns:
        [K] indices of the curve's thresholds, in rising order.
    """
    recall = curve.recall
    wanted = np.linspace(0, recall[-1], min(most, len(recall)))
    first = np.searchsorted(recall, wanted, "left")
    last = np.searchsorted(recall, recall[first], "right") - 1
    return np.union1d(first, last).astype(np.int64)

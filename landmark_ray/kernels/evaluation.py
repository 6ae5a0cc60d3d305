"""What an ensemble's answers are worth, in one set of figures."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.kernels import synthetic
from landmark_ray.kernels.calibration import (
    DEFAULT_THRESHOLD,
    FEW_STRANGERS,
    choose_threshold,
    fallback_threshold,
)
from landmark_ray.kernels.metrics import (
    NO_LANDMARK,
    PrecisionRecall,
    expected_calibration_error,
    global_average_precision,
    top_k_accuracy,
)

MAX_LISTED = 50
"""Confused pairs and worst landmarks that are listed."""


def figures(predictions: pa.Table) -> dict[str, Any]:
    """The figures of a set of images, less those that `scored` leaves out.

    Args:
        predictions: rows of `schemas.PREDICTIONS`.

    Returns:
        ensemble and closed: `summary` of all images, the latter of the reference's rule; groups:
        `summary` of each group's own images, by its number; confused: the pairs of landmarks that
        are confused most often; worst: the landmarks that are recognised least.
    """
    rows = scored(predictions)
    truth = [frozenset(ids) for ids in rows["truth"].to_pylist()]
    ids = rows["image_id"].to_pylist()
    ranked, confidences = ranking(rows)
    closed = (
        rows["closed_landmark"].to_numpy()[:, None],
        rows["closed_confidence"].to_numpy().astype(np.float64)[:, None],
    )
    group = rows["group"].to_numpy()
    own = {int(g): np.flatnonzero(group == g) for g in np.unique(group[group > 0])}
    return {
        "ensemble": measured(summary(ids, truth, ranked, confidences)),
        "closed": measured(summary(ids, truth, *closed)),
        "groups": {
            g: summary([ids[i] for i in at], [truth[i] for i in at], ranked[at], confidences[at])
            for g, at in own.items()
        },
        "confused": confused(truth, ranked[:, 0]),
        "worst": worst(truth, ranked[:, 0]),
    }


def measured(found: dict[str, float | int]) -> dict[str, float | int]:
    """Figures of a whole set without those that need a photo of no landmark, if it has none."""
    if found["images"] > found["landmark_images"]:
        return found
    return {k: v for k, v in found.items() if k not in ("gap", "ece", "precision", "f1")}


def scored(predictions: pa.Table) -> pa.Table:
    """The rows whose answers can be right or wrong.

    A background image whose answer is the landmark that the web gave it is left out: nothing
    verified it, but it may well show that landmark. So are synthetic images: they are no photos.
    """
    first = pc.list_element(_padded(predictions["landmarks"]), 0)
    known = pc.greater_equal(predictions["label"], 0)
    named = pc.and_(known, pc.equal(predictions["label"], first))
    unsure = pc.and_(pc.equal(predictions["group"], 0), named)
    return predictions.filter(pc.invert(pc.or_(unsure, drawn(predictions))))


def drawn(predictions: pa.Table) -> pa.ChunkedArray:
    """Which rows are of synthetic images."""
    return pc.equal(predictions["label"], synthetic.LABEL)


def synthetic_accepted(predictions: pa.Table, threshold: float) -> dict[str, int]:
    """How many synthetic images there are, and how many of them a threshold accepts."""
    _, confidences = ranking(predictions.filter(drawn(predictions)))
    accepted = int((confidences[:, 0] >= threshold).sum())
    return {"images": len(confidences), "accepted": accepted}


@dataclass(frozen=True)
class FirstAnswers:
    """The first answer for each image, and whether it is right.

    Attributes:
        image_ids: [N].
        truth: [N] landmarks of each image, none for a photo of no landmark.
        named: [N] landmark ids, `NO_LANDMARK` where there is no answer.
        confidences: [N] from 0 to 1.
    """

    image_ids: list[str]
    truth: list[frozenset[int]]
    named: NDArray[np.int64]
    confidences: NDArray[np.float64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """[N] whether an answer names a landmark of its image."""
        pairs = zip(self.named.tolist(), self.truth, strict=True)
        return np.array([named in truth for named, truth in pairs], bool)

    @property
    def landmarks(self) -> int:
        """Images with a landmark."""
        return sum(map(bool, self.truth))

    def mistakes(self, pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], str]:
        """Of pairs of a landmark and of what it is taken for: the image of the surest mistake."""
        wanted, found = set(pairs), {}
        for i in np.argsort(self.confidences, kind="stable").tolist():
            truth, named = self.truth[i], int(self.named[i])
            pair = min(truth, default=NO_LANDMARK), named
            if named not in truth and pair in wanted:
                found[pair] = self.image_ids[i]
        return found

    def accepted_others(self, threshold: float, most: int) -> list[int]:
        """Places of photos of no landmark whose answers reach a threshold, the surest first."""
        order = np.argsort(-self.confidences, kind="stable").tolist()
        named = (i for i in order if not self.truth[i] and self.named[i] != NO_LANDMARK)
        return [i for i in itertools.islice(named, most) if self.confidences[i] >= threshold]


def first_answers(rows: pa.Table) -> FirstAnswers:
    """Of rows of `schemas.PREDICTIONS`."""
    ranked, confidences = ranking(rows)
    truth = [frozenset(ids) for ids in rows["truth"].to_pylist()]
    sure = confidences[:, 0].clip(0, 1)
    return FirstAnswers(rows["image_id"].to_pylist(), truth, ranked[:, 0], sure)


def accepted_from(curve: PrecisionRecall, threshold: float) -> int | None:
    """Place on a curve of what a threshold accepts; None where it accepts nothing."""
    accepted = int((curve.thresholds >= threshold).sum())
    return accepted - 1 if accepted else None


def thinned(curve: PrecisionRecall, most: int) -> NDArray[np.int64]:
    """About `most` places that a curve of many thresholds is drawn with, even in its recall.

    Where precision falls while recall stays, both ends are among them.
    """
    recall = curve.recall
    wanted = np.linspace(0, recall[-1], min(most, len(recall)))
    first = np.searchsorted(recall, wanted, "left")
    last = np.searchsorted(recall, recall[first], "right") - 1
    return np.union1d(first, last).astype(np.int64)


def ranking(predictions: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Landmarks and confidences [N, K] of rows of `schemas.PREDICTIONS`, filled up."""
    lists = [predictions[name].to_pylist() for name in ("landmarks", "confidences")]
    widest = max(map(len, lists[0]), default=0) or 1
    ranked = np.full((predictions.num_rows, widest), NO_LANDMARK, np.int64)
    confidences = np.zeros(ranked.shape)
    for i, (names, sure) in enumerate(zip(*lists, strict=True)):
        ranked[i, : len(names)], confidences[i, : len(sure)] = names, sure
    return ranked, confidences


def confused(truth: Sequence[frozenset[int]], first: NDArray[np.int64]) -> list[dict[str, int]]:
    """Pairs of a landmark and of what its images are taken for, the most frequent first."""
    wrong = Counter(
        (min(names), int(named))
        for names, named in zip(truth, first, strict=True)
        if names and named not in names and named != NO_LANDMARK
    )
    ordered = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    return [{"landmark": a, "named": b, "images": n} for (a, b), n in ordered[:MAX_LISTED]]


def worst(truth: Sequence[frozenset[int]], first: NDArray[np.int64]) -> list[dict[str, float]]:
    """Landmarks with a wrong answer, those with the smallest share of right ones first."""
    images = Counter(min(names) for names in truth if names)
    right = Counter(
        min(names) for names, named in zip(truth, first, strict=True) if int(named) in names
    )
    shares = {landmark: right[landmark] / n for landmark, n in images.items()}
    ordered = sorted(shares, key=lambda i: (shares[i], -images[i], i))
    return [
        {"landmark": i, "images": images[i], "top1": shares[i]}
        for i in ordered[:MAX_LISTED]
        if shares[i] < 1
    ]


def _padded(lists: pa.ChunkedArray) -> pa.Array:
    """Lists with one value at least."""
    return pa.array([row or [NO_LANDMARK] for row in lists.to_pylist()], pa.list_(pa.int64()))


def summary(
    image_ids: Sequence[str],
    truth: Sequence[frozenset[int]],
    ranked: NDArray[np.int64],
    confidences: NDArray[np.float64],
) -> dict[str, float | int]:
    """The figures of a set of images.

    Args:
        image_ids: [N].
        truth: [N] landmarks of each image, none for a photo of no landmark.
        ranked: [N, K] landmark ids, the surest first, filled up with `NO_LANDMARK`.
        confidences: [N, K] from 0 to 1.

    Returns:
        images, landmark_images; and where there is a landmark: top1 and top5 (of landmark images),
        gap, gap_landmarks (without the other images), ece (calibration error of the first answer),
        and the threshold of "not a landmark" with the highest F1: threshold, precision, recall, f1.
        With fewer photos of no landmark than `FEW_STRANGERS` it is at least `fallback_threshold`.
    """
    landmarks = sum(map(bool, truth))
    found: dict[str, float | int] = {"images": len(image_ids), "landmark_images": landmarks}
    if not landmarks:
        return found | {"threshold": DEFAULT_THRESHOLD}
    first, sure = ranked[:, 0], confidences[:, 0].clip(0, 1)
    right = np.array([label in names for label, names in zip(first.tolist(), truth, strict=True)])
    solution = dict(zip(image_ids, truth, strict=True))
    # of an image with several landmarks the one that ranks best counts
    best = np.array([_best(row, names) for row, names in zip(ranked, truth, strict=True)])
    min_threshold = (
        0.0 if len(truth) - landmarks >= FEW_STRANGERS else fallback_threshold(sure, right)
    )
    threshold = choose_threshold(sure, right, landmarks=landmarks, min_threshold=min_threshold)
    return found | {
        "top1": top_k_accuracy(ranked, best, 1),
        "top5": top_k_accuracy(ranked, best, min(5, ranked.shape[1])),
        "gap": global_average_precision(image_ids, first, sure, solution),
        "gap_landmarks": global_average_precision(
            image_ids, first, sure, solution, landmarks_only=True
        ),
        "ece": expected_calibration_error(sure, right),
        "threshold": threshold.value,
        "precision": threshold.precision,
        "recall": threshold.recall,
        "f1": threshold.f1,
    }


def _best(row: NDArray[np.int64], names: frozenset[int]) -> int:
    """Of an image's landmarks the first that an answer names, else any."""
    return next((int(label) for label in row if label in names), min(names, default=NO_LANDMARK))

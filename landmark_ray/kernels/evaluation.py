"""Figures that say how good the answers of an ensemble are."""

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
    expected_calibration_error,
    global_average_precision,
    top_k_accuracy,
)

MAX_LISTED = 50
"""Largest number of confused pairs, and of worst landmarks, that are listed."""


def figures(predictions: pa.Table) -> dict[str, Any]:
    """Compute the figures of a set of images, without those that `scored` leaves out.

    Args:
        predictions: Rows of `schemas.PREDICTIONS`.

    Returns:
        ensemble: `summary` of all images. closed: the same of the closed-set baseline, the rule of
        the reference solution. groups: `summary` of the images of each group, by its number.
        confused: the pairs of landmarks that are confused most often. worst: the landmarks that are
        recognised least often.
    """
    rows = scored(predictions)
    truth = [frozenset(ids) for ids in rows["truth"].to_pylist()]
    ids = rows["image_id"].to_pylist()
    ranked, confidences = ranking(rows)
    closed_set_baseline = (
        rows["closed_landmark"].to_numpy()[:, None],
        rows["closed_confidence"].to_numpy().astype(np.float64)[:, None],
    )
    group = rows["group"].to_numpy()
    rows_of = {int(g): np.flatnonzero(group == g) for g in np.unique(group[group > 0])}
    return {
        "ensemble": measured(summary(ids, truth, ranked, confidences)),
        "closed": measured(summary(ids, truth, *closed_set_baseline)),
        "groups": {
            g: summary([ids[i] for i in of], [truth[i] for i in of], ranked[of], confidences[of])
            for g, of in rows_of.items()
        },
        "confused": confused(truth, ranked[:, 0]),
        "worst": worst(truth, ranked[:, 0]),
    }


def measured(values: dict[str, float | int]) -> dict[str, float | int]:
    """Leave out the figures that need photos of no landmark, if the set has no such photo."""
    if values["images"] > values["landmark_images"]:
        return values
    return {k: v for k, v in values.items() if k not in ("gap", "ece", "precision", "f1")}


def scored(predictions: pa.Table) -> pa.Table:
    """Return the rows whose answers can be right or wrong.

    A background image is left out if its answer is the landmark that its source labels it with:
    nothing verified the image, but it may well show that landmark. Synthetic images are left out,
    because they are no photos.
    """
    first = pc.list_element(_padded(predictions["landmarks"]), 0)
    known = pc.greater_equal(predictions["label"], 0)
    named = pc.and_(known, pc.equal(predictions["label"], first))
    unsure = pc.and_(pc.equal(predictions["group"], 0), named)
    return predictions.filter(pc.invert(pc.or_(unsure, drawn(predictions))))


def drawn(predictions: pa.Table) -> pa.ChunkedArray:
    """Return the mask [N] of the rows of synthetic images."""
    return pc.equal(predictions["label"], synthetic.LABEL)


def synthetic_accepted(predictions: pa.Table, threshold: float) -> dict[str, int]:
    """Count the synthetic images, and those whose answers a threshold accepts."""
    _, confidences = ranking(predictions.filter(drawn(predictions)))
    accepted = int((confidences[:, 0] >= threshold).sum())
    return {"images": len(confidences), "accepted": accepted}


@dataclass(frozen=True)
class FirstAnswers:
    """The first answer for each image, and whether it is right.

    Attributes:
        image_ids: [N].
        truth: [N] landmark ids of each image, empty for a photo of no landmark.
        named: [N] landmark id of the answer, or `NO_LANDMARK` if there is no answer.
        confidences: [N] from 0 to 1.
    """

    image_ids: list[str]
    truth: list[frozenset[int]]
    named: NDArray[np.int64]
    confidences: NDArray[np.float64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Return the mask [N] of answers that name a landmark of their image."""
        pairs = zip(self.named.tolist(), self.truth, strict=True)
        return np.array([named in truth for named, truth in pairs], bool)

    @property
    def landmarks(self) -> int:
        """Number of images with a landmark."""
        return sum(map(bool, self.truth))

    def mistakes(self, pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], str]:
        """Return for pairs (landmark, wrong answer) the image of the most confident mistake."""
        wanted, images = set(pairs), {}
        for i in np.argsort(self.confidences, kind="stable").tolist():
            truth, named = self.truth[i], int(self.named[i])
            pair = min(truth, default=NO_LANDMARK), named
            if named not in truth and pair in wanted:
                images[pair] = self.image_ids[i]
        return images

    def accepted_others(self, threshold: float, most: int) -> list[int]:
        """Return rows of photos of no landmark whose answers pass, the most confident first."""
        order = np.argsort(-self.confidences, kind="stable").tolist()
        named = (i for i in order if not self.truth[i] and self.named[i] != NO_LANDMARK)
        return [i for i in itertools.islice(named, most) if self.confidences[i] >= threshold]


def first_answers(rows: pa.Table) -> FirstAnswers:
    """Read the first answers from rows of `schemas.PREDICTIONS`."""
    ranked, confidences = ranking(rows)
    truth = [frozenset(ids) for ids in rows["truth"].to_pylist()]
    first = confidences[:, 0].clip(0, 1)
    return FirstAnswers(rows["image_id"].to_pylist(), truth, ranked[:, 0], first)


def ranking(predictions: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return landmark ids and confidences [N, K] of rows of `schemas.PREDICTIONS`.

    Rows with fewer than K answers are filled up with `NO_LANDMARK` and 0.
    """
    lists = [predictions[name].to_pylist() for name in ("landmarks", "confidences")]
    longest = max(map(len, lists[0]), default=0) or 1
    ranked = np.full((predictions.num_rows, longest), NO_LANDMARK, np.int64)
    confidences = np.zeros(ranked.shape)
    for i, (ids, scores) in enumerate(zip(*lists, strict=True)):
        ranked[i, : len(ids)], confidences[i, : len(scores)] = ids, scores
    return ranked, confidences


def confused(truth: Sequence[frozenset[int]], first: NDArray[np.int64]) -> list[dict[str, int]]:
    """Return pairs of a landmark and a wrong answer to its images, the most frequent first."""
    wrong = Counter(
        (min(names), int(named))
        for names, named in zip(truth, first, strict=True)
        if names and named not in names and named != NO_LANDMARK
    )
    ordered = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    return [{"landmark": a, "named": b, "images": n} for (a, b), n in ordered[:MAX_LISTED]]


def worst(truth: Sequence[frozenset[int]], first: NDArray[np.int64]) -> list[dict[str, float]]:
    """Return landmarks with wrong answers, the smallest share of right answers first."""
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
    """Fill empty lists with `NO_LANDMARK`, so that all lists have a first value."""
    return pa.array([row or [NO_LANDMARK] for row in lists.to_pylist()], pa.list_(pa.int64()))


def summary(
    image_ids: Sequence[str],
    truth: Sequence[frozenset[int]],
    ranked: NDArray[np.int64],
    confidences: NDArray[np.float64],
    strangers: int | None = None,
) -> dict[str, float | int]:
    """Compute the figures of a set of images.

    Args:
        image_ids: [N].
        truth: [N] landmark ids of each image, empty for a photo of no landmark.
        ranked: [N, K] landmark ids, the most confident first, filled up with `NO_LANDMARK`.
        confidences: [N, K] from 0 to 1.
        strangers: Number of photos of no landmark, where others are among them that only count as
            such; all without a landmark when not given.

    Returns:
        images and landmark_images (their numbers). If any image has a landmark, also top1 and top5
        (of images with a landmark), gap, gap_landmarks (without the other images), ece (calibration
        error of the first answer), and the threshold of "not a landmark" with the highest F1:
        threshold, precision, recall, f1. With fewer photos of no landmark than `FEW_STRANGERS`, the
        threshold is at least `fallback_threshold`.
    """
    landmarks = sum(map(bool, truth))
    counts: dict[str, float | int] = {"images": len(image_ids), "landmark_images": landmarks}
    if not landmarks:
        return counts | {"threshold": DEFAULT_THRESHOLD}
    first, confidence = ranked[:, 0], confidences[:, 0].clip(0, 1)
    right = np.array([label in names for label, names in zip(first.tolist(), truth, strict=True)])
    solution = dict(zip(image_ids, truth, strict=True))
    # if an image has several landmarks, the one with the best rank counts
    best = np.array([_best(row, names) for row, names in zip(ranked, truth, strict=True)])
    strangers = len(truth) - landmarks if strangers is None else strangers
    min_threshold = 0.0 if strangers >= FEW_STRANGERS else fallback_threshold(confidence, right)
    threshold = choose_threshold(
        confidence, right, landmarks=landmarks, min_threshold=min_threshold
    )
    return counts | {
        "top1": top_k_accuracy(ranked, best, 1),
        "top5": top_k_accuracy(ranked, best, min(5, ranked.shape[1])),
        "gap": global_average_precision(image_ids, first, confidence, solution),
        "gap_landmarks": global_average_precision(
            image_ids, first, confidence, solution, landmarks_only=True
        ),
        "ece": expected_calibration_error(confidence, right),
        "threshold": threshold.value,
        "precision": threshold.precision,
        "recall": threshold.recall,
        "f1": threshold.f1,
    }


def summary_of(rows: pa.Table, strangers: int | None = None) -> dict[str, float | int]:
    """Return the `summary` of rows of `schemas.PREDICTIONS`, with a number of real strangers."""
    truth = [frozenset(ids) for ids in rows["truth"].to_pylist()]
    return summary(rows["image_id"].to_pylist(), truth, *ranking(rows), strangers)


def _best(row: NDArray[np.int64], names: frozenset[int]) -> int:
    """Return the first of an image's landmarks that an answer names, else any of them."""
    return next((int(label) for label in row if label in names), min(names, default=NO_LANDMARK))

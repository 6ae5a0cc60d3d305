"""Answers from the evidence in rows of `predictions`, fused or by one witness alone."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.kernels.evaluation import measured, ranking, scored, summary_of
from landmark_ray.kernels.exemplars import LEADING, leading
from landmark_ray.kernels.fusion import LEAST, Candidates, Fusion, fit_fusion
from landmark_ray.kernels.metrics import NO_LANDMARK
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.kernels.topk import TopK

OF_CANDIDATES = ("candidates", "heads", "nearest", "mean", "usual", "inliers")
"""Columns of `schemas.PREDICTIONS` with a value for each candidate."""

MOST_FITTED = 20_000
"""Largest number of photos to which a fusion is fitted, which takes minutes in one process."""

SLICE = 10_000
"""Rows that are objects of Python at a time."""


def evidence_of(predictions: pa.Table) -> Candidates:
    """Read the candidates of rows of `schemas.PREDICTIONS`.

    Only inliers of the landmarks that lead count, as the service asks only about these. Rows of
    validation photos have those of one landmark more, for `as_strangers`.
    """
    landmarks = padded(predictions["candidates"].to_pylist(), NO_LANDMARK, np.int64)
    found = Candidates(
        landmarks,
        padded(predictions["heads"].to_pylist(), 0, np.float64),
        padded(predictions["nearest"].to_pylist(), -1, np.float32),
        padded(predictions["mean"].to_pylist(), -1, np.float32),
        padded(predictions["usual"].to_pylist(), 1, np.float32),
        predictions["strangers"].to_numpy().astype(np.float32),
        padded(predictions["inliers"].to_pylist(), np.nan, np.float32),
    )
    pairs = zip(found.landmarks, leading(found, LEADING), strict=True)
    leads = np.array([np.isin(row, named) for row, named in pairs]).reshape(found.landmarks.shape)
    return dataclasses.replace(found, inliers=np.where(leads, np.asarray(found.inliers), np.nan))


def padded(rows: Sequence[Sequence[float]], value: float, kind: type) -> NDArray[Any]:
    """Return lists as an array [N, C], filled up with a value."""
    array: NDArray[Any] = np.full((len(rows), max(map(len, rows), default=0) or 1), value, kind)
    for number, row in enumerate(rows):
        array[number, : len(row)] = row
    return array


def right_candidates(predictions: pa.Table, found: Candidates) -> NDArray[np.bool_]:
    """Return [N, C] whether a photo shows its candidate."""
    truth = [frozenset(ids) for ids in predictions["truth"].to_pylist()]
    pairs = zip(found.landmarks.tolist(), truth, strict=True)
    right = np.array([[i in names for i in row] for row, names in pairs], bool)
    return right.reshape(found.landmarks.shape)


def fitted(predictions: pa.Table, groups: Mapping[int, int]) -> Fusion:
    """Fit a fusion to the rows whose answers can be right or wrong; see `evaluation.scored`.

    Each photo of a landmark counts twice: as it is, and as a stranger. Of more than `MOST_FITTED`
    photos, so many are chosen at random: they determine a handful of weights well enough.

    Args:
        predictions: Rows of validation images.
        groups: Landmark -> group whose head knows it.
    """
    rows = scored(predictions)
    order = np.argsort(rank_key(rows["image_id"].to_numpy(), 2), kind="stable")
    rows = rows.take(np.sort(order[:MOST_FITTED]))
    rows = pa.concat_tables([rows, as_strangers(rows, groups)])
    found = evidence_of(rows)
    return fit_fusion(found, right_candidates(rows, found))


def as_strangers(predictions: pa.Table, groups: Mapping[int, int]) -> pa.Table:
    """Return the rows of photos of landmarks as if their landmarks were unknown.

    Such photos are what people send of places that no model learned, and there are as many as one
    likes. The landmark is not among the candidates; what its head's confidence in it was goes to
    the other landmarks of its group, in proportion. A slice after the other becomes objects of
    Python, which take ten times the memory.

    Args:
        predictions: Rows with the answers of the heads, and with the evidence.
        groups: Landmark -> group whose head knows it.
    """
    shown = predictions.filter(pc.greater(pc.list_value_length(predictions["truth"]), 0))
    starts = range(0, max(shown.num_rows, 1), SLICE)
    return pa.concat_tables([_as_strangers(shown.slice(i, SLICE), groups) for i in starts])


def _as_strangers(shown: pa.Table, groups: Mapping[int, int]) -> pa.Table:
    rows = shown.to_pylist()
    for row in rows:
        own = set(row["truth"])
        own_groups = {groups.get(landmark) for landmark in own}
        evidence = list(zip(*(row[name] for name in OF_CANDIDATES), strict=True))
        left = 1 - sum(heads for landmark, heads, *_ in evidence if landmark in own and heads > 0)
        others = [
            (i, min(h / max(left, LEAST), 1) if groups.get(i) in own_groups else h, *similar)
            for i, h, *similar in evidence
            if i not in own
        ]
        for name, values in zip(OF_CANDIDATES, zip(*others, strict=True), strict=False):
            row[name] = list(values)
        if not others:
            row |= {name: [] for name in OF_CANDIDATES}
        named = sorted((-h, i) for i, h, *_ in others if h > 0)[: len(row["landmarks"])]
        row["landmarks"] = [i for _, i in named]
        row["confidences"] = [-h for h, _ in named]
        row |= {"image_id": f"{row['image_id']} as a stranger", "truth": [], "group": 0}
    return pa.Table.from_pylist(rows, shown.schema)


def by_index(predictions: pa.Table) -> pa.Table:
    """Return the rows as if the heads knew none of the landmarks."""
    place, field = predictions.schema.get_field_index("heads"), predictions.schema.field("heads")
    unknown = [[float("nan")] * len(row) for row in predictions["candidates"].to_pylist()]
    return predictions.set_column(place, field, pa.array(unknown, field.type))


def answered(predictions: pa.Table, fusion: Fusion) -> pa.Table:
    """Replace the answers of the heads by those of a fusion."""
    _, given = ranking(predictions)
    blank = np.array([not row for row in predictions["landmarks"].to_pylist()], bool)
    landmarks, confidences = fusion.top_k(evidence_of(predictions), given.shape[1])
    return with_answers(
        predictions, (np.where(blank[:, None], NO_LANDMARK, landmarks), confidences)
    )


def with_answers(predictions: pa.Table, answers: TopK) -> pa.Table:
    """Replace landmarks and confidences [N, k] of rows."""
    for name, values in zip(("landmarks", "confidences"), answers, strict=True):
        known = [v[ids != NO_LANDMARK].tolist() for v, ids in zip(values, answers[0], strict=True)]
        place, field = predictions.schema.get_field_index(name), predictions.schema.field(name)
        predictions = predictions.set_column(place, field, pa.array(known, field.type))
    return predictions


def cross_fitted(predictions: pa.Table, groups: Mapping[int, int]) -> list[tuple[pa.Table, Fusion]]:
    """Return each half of the rows with a fusion that is fitted to the other half.

    Figures of such answers do not flatter the fusion, as those of rows that it was fitted to would.
    """
    parts = halves(predictions)
    return [(rows, fitted(others, groups)) for rows, others in zip(parts, parts[::-1], strict=True)]


def halves(predictions: pa.Table) -> list[pa.Table]:
    """Divide rows by their ids, at random.

    All stay together if a fusion could not be fitted to one half, which has no photo of a landmark.
    """
    rank = rank_key(predictions["image_id"].to_numpy(), 1)
    half = pa.array(rank < np.uint64(1 << 63))
    parts = [predictions.filter(half), predictions.filter(pc.invert(half))]
    shown = [pc.max(pc.list_value_length(scored(rows)["truth"])).as_py() for rows in parts]
    return parts if all(shown) else [predictions]


def witnesses(
    predictions: pa.Table, parts: Sequence[tuple[pa.Table, Fusion]]
) -> dict[str, dict[str, float | int]]:
    """Return the `summary` of the heads alone, of the index alone, and of both unverified.

    Args:
        predictions: Rows with the answers of the heads, and with the evidence.
        parts: The rows, in parts, and the fusion that answers for each.
    """
    unverified = [(rows, dataclasses.replace(fusion, verified=None)) for rows, fusion in parts]
    of_index = pa.concat_tables([answered(by_index(rows), fusion) for rows, fusion in unverified])
    rows = {"heads": scored(predictions), "index": scored(of_index)}
    if any(fusion.verified for _, fusion in parts):
        both = pa.concat_tables([answered(rows, fusion) for rows, fusion in unverified])
        rows["unverified"] = scored(both)
    return {name: measured(summary_of(of)) for name, of in rows.items()}


def strangers_accepted(
    predictions: pa.Table, threshold: float, known: frozenset[int]
) -> dict[str, dict[str, int]]:
    """Count the photos of no landmark that is known, and those whose answers a threshold accepts.

    Args:
        predictions: Rows of `schemas.PREDICTIONS`.
        threshold: 0 to 1.
        known: The landmarks that the models know.

    Returns:
        other_landmarks: the counts for photos of other landmarks, as truth or label says.
        anything_else: the counts for the others.
    """
    rows = scored(predictions)
    accepted = (ranking(rows)[1][:, 0] >= threshold).tolist()
    counts = {kind: {"images": 0, "accepted": 0} for kind in ("other_landmarks", "anything_else")}
    pairs = zip(rows["truth"].to_pylist(), rows["label"].to_pylist(), strict=True)
    for (truth, label), is_accepted in zip(pairs, accepted, strict=True):
        if known.isdisjoint(truth):
            is_landmark = truth or (label >= 0 and label not in known)
            of_kind = counts["other_landmarks" if is_landmark else "anything_else"]
            of_kind["images"] += 1
            of_kind["accepted"] += is_accepted
    return counts

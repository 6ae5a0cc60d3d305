"""Answers from the evidence in rows of `predictions`, fused or by one witness alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.kernels.evaluation import measured, ranking, scored, summary
from landmark_ray.kernels.fusion import Candidates, Fusion, fit_fusion
from landmark_ray.kernels.metrics import NO_LANDMARK
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.kernels.topk import TopK


def evidence_of(predictions: pa.Table) -> Candidates:
    """Read the candidates of rows of `schemas.PREDICTIONS`."""
    landmarks = padded(predictions["candidates"].to_pylist(), NO_LANDMARK, np.int64)
    return Candidates(
        landmarks,
        padded(predictions["heads"].to_pylist(), 0, np.float64),
        padded(predictions["nearest"].to_pylist(), -1, np.float32),
        padded(predictions["mean"].to_pylist(), -1, np.float32),
        predictions["strangers"].to_numpy().astype(np.float32),
    )


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
    return np.array([[i in names for i in row] for row, names in pairs], bool)


def fitted(predictions: pa.Table) -> Fusion:
    """Fit a fusion to the rows whose answers can be right or wrong; see `evaluation.scored`."""
    rows = scored(predictions)
    found = evidence_of(rows)
    return fit_fusion(found, right_candidates(rows, found))


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


def cross_fitted(predictions: pa.Table) -> pa.Table:
    """Answer for each half of the rows by a fusion that is fitted to the other half.

    Figures of these rows do not flatter the fusion, as those of rows that it was fitted to would.
    """
    rank = rank_key(predictions["image_id"].to_numpy(), 1)
    half = pa.array(rank < np.uint64(1 << 63))
    first, second = predictions.filter(half), predictions.filter(pc.invert(half))
    if not (len(first) and len(second)):
        return answered(predictions, fitted(predictions))
    pairs = ((first, second), (second, first))
    return pa.concat_tables([answered(rows, fitted(other)) for rows, other in pairs])


def witnesses(
    predictions: pa.Table, fusion: Fusion | None = None
) -> dict[str, dict[str, float | int]]:
    """Return the `summary` of the heads alone, and of the index alone.

    Args:
        predictions: Rows with the answers of the heads, and with the evidence.
        fusion: Answers by the index; by default each half of the rows is answered as in
            `cross_fitted`.
    """
    index = by_index(predictions)
    of_index = cross_fitted(index) if fusion is None else answered(index, fusion)
    rows = {"heads": scored(predictions), "index": scored(of_index)}
    return {name: measured(_summary(of)) for name, of in rows.items()}


def _summary(rows: pa.Table) -> dict[str, float | int]:
    truth = [frozenset(ids) for ids in rows["truth"].to_pylist()]
    return summary(rows["image_id"].to_pylist(), truth, *ranking(rows))

"""Answers from evidence: fused, by one witness alone, and without flattering themselves."""

from math import nan

import numpy as np
import pyarrow as pa
import pytest

from landmark_ray.data import schemas
from landmark_ray.kernels import answers
from landmark_ray.kernels.answers import (
    answered,
    as_strangers,
    by_index,
    cross_fitted,
    evidence_of,
    fitted,
    halves,
    witnesses,
)
from landmark_ray.kernels.evaluation import summary_of
from landmark_ray.kernels.exemplars import LEADING

GROUPS = {1: 1, 2: 1}


def predictions(count=200, seed=0) -> pa.Table:
    """Photos of landmarks 1 and 2, and every third of none; heads and index are right mostly."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        shown = number % 3
        said = rng.dirichlet([3 if shown == i else 1 for i in (1, 2, 0)])
        near = [0.6 if shown == i else 0.3 for i in (1, 2)] + rng.normal(0, 0.05, 2)
        rows.append(
            {
                "image_id": f"{number:04d}",
                "truth": [shown] if shown else [],
                "label": shown or 9,
                "group": int(shown > 0),
                "landmarks": [1, 2] if said[0] > said[1] else [2, 1],
                "confidences": sorted(said[:2], reverse=True),
                "candidates": [1, 2],
                "heads": said[:2].tolist(),
                "nearest": near.tolist(),
                "mean": near.tolist(),
                "usual": [0.5, 0.5],
                "strangers": float(0.5 if not shown else 0.3),
                "inliers": [nan, nan],
                "closed_landmark": 1,
                "closed_confidence": 1.0,
            }
        )
    return pa.Table.from_pylist(rows, schemas.PREDICTIONS)


def test_fused_answers_are_those_of_the_fusion():
    rows = predictions()
    found = answered(rows, fitted(rows, GROUPS))
    assert found.schema == rows.schema and found["image_id"] == rows["image_id"]
    first = [row[0] for row in found["landmarks"].to_pylist()]
    truth = rows["truth"].to_pylist()
    assert np.mean([[a] == t for a, t in zip(first, truth, strict=True) if t]) > 0.95


def test_photos_without_an_answer_have_none_afterwards():
    rows = predictions(30)
    blank = rows.set_column(
        rows.schema.get_field_index("landmarks"),
        rows.schema.field("landmarks"),
        pa.array([[], *rows["landmarks"].to_pylist()[1:]], pa.list_(pa.int64())),
    )
    assert answered(blank, fitted(rows, GROUPS))["landmarks"][0].as_py() == []


def test_a_choice_of_photos_gives_nearly_the_same_confidences(monkeypatch):
    rows = predictions(3000)
    whole = fitted(rows, GROUPS)
    monkeypatch.setattr(answers, "MOST_FITTED", 1500)
    chosen, shuffled = fitted(rows, GROUPS), fitted(rows.take(np.arange(3000)[::-1]), GROUPS)
    np.testing.assert_allclose(chosen.trained.weights, shuffled.trained.weights, rtol=1e-6)
    found = evidence_of(rows)
    assert chosen != whole
    assert np.abs(chosen(found) - whole(found)).mean() < 0.01


def test_each_half_is_answered_by_the_other():
    rows = predictions()
    (a, of_a), (b, of_b) = cross_fitted(rows, GROUPS)
    found = pa.concat_tables([a, b]).sort_by("image_id")
    assert found["image_id"].to_pylist() == rows["image_id"].to_pylist()
    assert of_a == fitted(b, GROUPS) and of_b == fitted(a, GROUPS)
    assert of_a != fitted(a, GROUPS)


def test_one_row_is_answered_by_itself():
    ((rows, _),) = cross_fitted(predictions(1), GROUPS)
    assert [part["image_id"].to_pylist() for part in halves(predictions(1))] == [["0000"]]
    assert rows.num_rows == 1


@pytest.mark.parametrize("shown", [0, 1, 2])
def test_photos_of_few_landmarks_stay_together(shown):
    rows = predictions(60)
    ours = [row for row in rows.to_pylist() if row["truth"]][:shown]
    others = [row for row in rows.to_pylist() if not row["truth"]]
    everything = pa.Table.from_pylist(ours + others, rows.schema)
    parts = cross_fitted(everything, GROUPS)
    assert sum(part.num_rows for part, _ in parts) == everything.num_rows
    for part, fusion in parts:
        assert answered(part, fusion).num_rows == part.num_rows


def test_threshold_is_high_where_only_photos_of_landmarks_stand_for_strangers():
    rows = predictions(300)
    ours = rows.filter(pa.array([bool(ids) for ids in rows["truth"].to_pylist()]))
    with_unknown = pa.concat_tables([ours, as_strangers(ours, GROUPS)])
    usual = summary_of(with_unknown)["threshold"]
    assert summary_of(with_unknown, 0)["threshold"] > usual
    assert summary_of(with_unknown, 10)["threshold"] == usual


def test_strangers_are_made_slice_by_slice(monkeypatch):
    rows = predictions(50)
    whole = as_strangers(rows, GROUPS)
    monkeypatch.setattr("landmark_ray.kernels.answers.SLICE", 7)
    assert str(as_strangers(rows, GROUPS).to_pylist()) == str(whole.to_pylist()), "with NaN"
    assert as_strangers(rows.slice(0, 1), GROUPS).num_rows == 0


def test_index_alone_does_not_listen_to_the_heads():
    rows = predictions()
    other = by_index(rows)
    assert np.isnan(np.concatenate(other["heads"].to_pylist())).all()
    figures = witnesses(rows, cross_fitted(rows, GROUPS))
    assert set(figures) == {"heads", "index"}
    assert figures["index"]["top1"] > figures["heads"]["top1"]
    assert figures["heads"]["top1"] == pytest.approx(0.75, abs=0.15)


def test_as_a_stranger_a_photo_has_lost_its_landmark():
    row = {
        "image_id": "a",
        "truth": [7],
        "label": 7,
        "group": 1,
        "landmarks": [7, 9, 8],
        "confidences": [0.6, 0.3, 0.1],
        "candidates": [7, 8, 9],
        "heads": [0.6, 0.1, 0.3],
        "nearest": [0.7, 0.2, 0.4],
        "mean": [0.8, 0.3, 0.5],
        "usual": [0.6, 0.5, 0.4],
        "strangers": 0.1,
        "inliers": [30.0, 5.0, nan],
        "closed_landmark": 7,
        "closed_confidence": 1.0,
    }
    stranger = row | {"image_id": "b", "truth": [], "group": 0, "label": -1}
    rows = pa.Table.from_pylist([row, stranger], schemas.PREDICTIONS)
    (found,) = as_strangers(rows, {7: 1, 8: 1, 9: 2}).to_pylist()
    assert (found["truth"], found["group"], found["label"]) == ([], 0, 7)
    assert found["candidates"] == [8, 9]
    assert found["heads"] == pytest.approx([0.1 / 0.4, 0.3])  # only group 1 has lost a landmark
    assert found["nearest"] == pytest.approx([0.2, 0.4])
    assert found["landmarks"] == [9, 8] and found["confidences"] == pytest.approx([0.3, 0.25])


def test_as_a_stranger_a_photo_with_one_candidate_has_none():
    rows = predictions(2).slice(1)
    alone = {name: [0] for name in ("nearest", "mean", "usual", "inliers")} | {
        "candidates": [1],
        "heads": [1.0],
    }
    one = pa.Table.from_pylist([rows.to_pylist()[0] | alone], schemas.PREDICTIONS)
    (found,) = as_strangers(one, GROUPS).to_pylist()
    assert found["candidates"] == found["landmarks"] == found["confidences"] == []


def test_confidences_know_strangers_that_resemble_a_landmark():
    rows = predictions(600)
    strangers = as_strangers(rows, GROUPS)
    found = answered(strangers, fitted(rows, GROUPS))
    wrong = np.mean([c[0] for c in found["confidences"].to_pylist()])
    right = answered(rows, fitted(rows, GROUPS))
    assert wrong < 0.5 < np.mean([c[0] for c in right["confidences"].to_pylist()])


def test_only_inliers_of_the_landmarks_that_lead_count():
    count = LEADING + 2
    near = [0.9 - 0.1 * place for place in range(count)]
    (row,) = predictions(2).slice(1).to_pylist()
    row |= {"candidates": list(range(1, count + 1)), "heads": [0.9, 0.05, *[0.0] * LEADING]}
    row |= {
        "nearest": near,
        "mean": near,
        "usual": near,
        "inliers": [*range(10, 10 + count - 1), nan],
    }
    rows = pa.Table.from_pylist([row], schemas.PREDICTIONS)
    found = evidence_of(rows).inliers[0]
    assert found[:LEADING].tolist() == row["inliers"][:LEADING] and np.isnan(found[LEADING:]).all()
    stranger = evidence_of(as_strangers(rows, GROUPS)).inliers[0]
    assert stranger[:LEADING].tolist() == row["inliers"][1 : LEADING + 1]

import numpy as np
import pyarrow as pa
import pytest

from landmark_ray.data import schemas
from landmark_ray.kernels import synthetic
from landmark_ray.kernels.evaluation import (
    figures,
    first_answers,
    scored,
    strangers_accepted,
    synthetic_accepted,
)
from landmark_ray.kernels.metrics import precision_recall
from landmark_ray.reports.image_set import accepted_from, thinned


def table(rows) -> pa.Table:
    """Image, truth, label, group, answers, confidences."""
    names = ("image_id", "truth", "label", "group", "landmarks", "confidences")
    rest = {"closed_landmark": -1, "closed_confidence": 0.0}
    values = [dict(zip(names, row, strict=True)) | rest for row in rows]
    return pa.Table.from_pylist(values, schemas.PREDICTIONS)


ROWS = table(
    [
        ("a", [1], 1, 1, [1, 2], [0.5, 0.25]),
        ("b", [2, 3], 2, 1, [3], [1.0]),
        ("c", [1], 1, 1, [2], [0.25]),
        ("d", [1], 1, 1, [2], [0.75]),
        ("e", [], 5, 0, [1], [0.5]),
        ("f", [], 5, 0, [5], [0.9]),
        ("g", [], -1, 0, [], []),
        ("h", [], 5, 0, [2], [0.75]),
    ]
)


def test_background_named_as_the_web_names_it_is_not_judged():
    assert scored(ROWS)["image_id"].to_pylist() == list("abcdegh")


def test_drawn_images_are_counted_by_themselves_and_change_no_figure():
    images = [
        (f"synthetic-{i}", [], synthetic.LABEL, 0, [1], [sure])
        for i, sure in enumerate((0.9, 0.1, 0.5))
    ]
    both = pa.concat_tables([ROWS, table(images)])
    assert figures(both) == figures(ROWS)
    assert synthetic_accepted(both, 0.5) == {"images": 3, "accepted": 2}
    assert synthetic_accepted(ROWS, 0.5) == {"images": 0, "accepted": 0}


def own(count: int, sure: float = 0.9) -> list:
    return [(f"{i}", [1], 1, 1, [1], [sure - i / 1000]) for i in range(count)]


def strangers(count: int, sure: float = 0.99) -> list:
    return [(f"s{i}", [], 5, 0, [1], [sure]) for i in range(count)]


def test_without_a_stranger_the_threshold_is_what_right_answers_reach_and_nothing_else_is_claimed():
    found = figures(table(own(60)))["ensemble"]
    # a twentieth of 60 may be refused: from the third from below on they are accepted
    assert found["threshold"] == pytest.approx(0.9 - 57 / 1000)
    assert found["recall"] == pytest.approx(58 / 60)
    assert not {"precision", "f1", "gap", "ece"} & set(found)
    assert found["top1"] == found["gap_landmarks"] == 1


def test_nine_strangers_dont_lower_the_threshold_to_nothing_and_ten_choose_it():
    few, enough = (figures(table(own(20) + strangers(n)))["ensemble"] for n in (9, 10))
    # all strangers are surer than all landmarks: to accept everything has the best F1
    assert few["threshold"] == pytest.approx(0.9 - 19 / 1000) and enough["threshold"] == 0
    assert few["precision"] == pytest.approx(20 / 29)
    assert enough["precision"] == pytest.approx(20 / 30)


def test_without_any_landmark_or_any_right_answer_the_threshold_is_not_0():
    assert figures(table(strangers(3)))["ensemble"]["threshold"] == 0.5
    wrong = figures(table([("a", [2], 2, 1, [1], [0.3])]))["ensemble"]
    assert (wrong["threshold"], wrong["recall"]) == (0.5, 0.0)


def test_first_answers_by_hand():
    found = first_answers(scored(ROWS))
    assert found.named.tolist() == [1, 3, 2, 2, 1, -1, 2]
    assert found.confidences.tolist() == [0.5, 1, 0.25, 0.75, 0.5, 0, 0.75]
    assert found.right.tolist() == [True, True, False, False, False, False, False]
    assert found.landmarks == 4
    assert found.mistakes([(1, 2), (2, 3)]) == {(1, 2): "d"}
    assert found.accepted_others(0.5, 9) == [6, 4]
    assert found.accepted_others(0.5, 1) == [6]
    assert found.accepted_others(0.6, 9) == [6]
    assert found.accepted_others(0.0, 9) == [6, 4], "g has no answer"


def test_threshold_accepts_from_its_value_on():
    curve = precision_recall([0.9, 0.5, 0.5, 0.1], [True, False, True, False], landmarks=3)
    assert curve.thresholds.tolist() == [0.9, 0.5, 0.1]
    wanted = {1.0: None, 0.9: 0, 0.6: 0, 0.5: 1, 0.2: 1, 0.0: 2}
    assert {value: accepted_from(curve, value) for value in wanted} == wanted


def test_thinned_curve_keeps_both_ends_of_every_fall():
    # recall 1/2, 1/2, 1, 1 at four thresholds
    curve = precision_recall([0.9, 0.8, 0.7, 0.6], [True, False, True, False], landmarks=2)
    assert thinned(curve, 9).tolist() == [0, 1, 2, 3]
    assert thinned(curve, 1).tolist() == [0, 1]


def test_thinned_curve_of_many_thresholds_is_short_and_whole():
    rng = np.random.default_rng(0)
    curve = precision_recall(rng.random(10_000), rng.random(10_000) < 0.5, landmarks=9000)
    places = thinned(curve, 100)
    assert places[0] == 0 and places[-1] == len(curve.thresholds) - 1
    assert 100 <= len(places) <= 200
    assert np.diff(curve.recall[places]).max() < 0.02


def test_thinned_curve_without_right_answers():
    curve = precision_recall([0.9, 0.8, 0.7], [False] * 3, landmarks=2)
    assert thinned(curve, 9).tolist() == [0, 2]


def test_strangers_that_are_other_landmarks_are_counted_apart():
    rows = [
        ("a", [1], 1, 1, [1], [0.9]),
        ("b", [], 7, 0, [1], [0.9]),
        ("c", [], 8, 0, [1], [0.1]),
        ("d", [7], -1, 0, [1], [0.9]),
        ("e", [], -1, 0, [1], [0.9]),
        ("f", [], 2, 0, [1], [0.1]),
        ("g", [7, 1], -1, 1, [1], [0.9]),
    ]
    found = strangers_accepted(table(rows), 0.5, frozenset({1, 2}))
    assert found == {
        "landmarks": {"images": 3, "accepted": 2},
        "others": {"images": 2, "accepted": 1},
    }

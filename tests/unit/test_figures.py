import numpy as np
import pyarrow as pa

from landmark_ray import schemas
from landmark_ray.kernels.evaluation import accepted_from, first_answers, judged, thinned
from landmark_ray.kernels.metrics import precision_recall


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
    assert judged(ROWS)["image_id"].to_pylist() == list("abcdegh")


def test_first_answers_by_hand():
    found = first_answers(judged(ROWS))
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

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmark_ray.kernels.metrics import (
    format_prediction,
    global_average_precision,
    parse_solution,
    top_k_accuracy,
)


def gap(predictions, solution, **options):
    """GAP of {image id: (landmark, confidence)}."""
    landmarks, confidences = zip(*predictions.values(), strict=True) if predictions else ((), ())
    return global_average_precision(list(predictions), landmarks, confidences, solution, **options)


def test_gap_by_hand():
    solution = {"a": {1}, "b": {2}, "c": set(), "d": {3}, "e": {4}}
    predictions = {"a": (1, 0.9), "b": (9, 0.6), "c": (1, 0.8), "d": (3, 0.7)}
    # a right 1/1, c wrong, d right 2/3, b wrong, e without a prediction; M = 4
    assert gap(predictions, solution) == pytest.approx((1 + 2 / 3) / 4)
    # without c: a right 1/1, d right 2/2, b wrong
    assert gap(predictions, solution, landmarks_only=True) == pytest.approx((1 + 1) / 4)


def test_gap_equals_the_value_in_the_tests_of_delf():
    # tensorflow/models, research/delf, google_landmarks_dataset/metrics_test.py
    solution = {"01": {0, 12}, "02": {100, 200, 300}, "03": {1}, "04": set(), "05": set()}
    predictions = {"02": (0, 0.01), "03": (1, 10.0), "04": (150, 15.0)}
    assert gap(predictions, solution) == pytest.approx(1 / 2 / 3)
    assert gap(predictions, solution, landmarks_only=True) == pytest.approx(1 / 3)


def test_gap_equals_the_example_of_the_package_evaluations():
    # evaluations.readthedocs.io, kaggle_2020: 10 right, 08 right, 07 wrong, 05, 03, 01 right, 02
    truth = [123, None, 999, 123, 999, 888, 666, 666, None, 666]
    solution = {f"{i:02d}": set() if t is None else {t} for i, t in enumerate(truth, 1)}
    predictions = {
        "01": (123, 0.15),
        "02": (123, 0.10),
        "03": (999, 0.30),
        "05": (999, 0.40),
        "07": (555, 0.60),
        "08": (666, 0.70),
        "10": (666, 0.99),
    }
    expected = (1 + 2 / 2 + 3 / 4 + 4 / 5 + 5 / 6) / 8
    assert gap(predictions, solution) == pytest.approx(expected) == pytest.approx(0.5479166666666)


def test_gap_puts_the_smaller_id_first_of_equally_sure_predictions():
    predictions = {"1a": (1, 0.5), "0b": (1, 0.5)}
    assert gap(predictions, {"0b": {1}, "1a": set()}) == 1  # right, wrong: 1/1
    assert gap(predictions, {"0b": set(), "1a": {1}}) == 0.5  # wrong, right: 1/2


def test_gap_compares_confidences_of_float32_exactly():
    close = np.array([1 - 2**-24, 1.0], np.float32)
    assert global_average_precision(["a", "b"], [9, 1], close, {"a": {2}, "b": {1}}) == 1 / 2
    assert global_average_precision(["a", "b"], [9, 1], close, {"a": set(), "b": {1}}) == 1


def test_any_of_an_images_landmarks_is_right():
    assert gap({"a": (1, 0.5)}, {"a": {1, 2}}) == gap({"a": (2, 0.5)}, {"a": {1, 2}}) == 1
    assert gap({"a": (3, 0.5)}, {"a": {1, 2}}) == 0


@pytest.mark.parametrize("nothing", [None, -1, np.int64(-1)])
def test_rejected_image_takes_no_place_in_the_list(nothing):
    solution = {"a": set(), "b": {1}}
    assert gap({"a": (nothing, 0.9), "b": (1, 0.5)}, solution) == 1
    assert gap({"a": (nothing, np.nan), "b": (1, 0.5)}, solution) == 1  # its score isn't read
    assert gap({"b": (nothing, 0.9)}, solution) == 0  # and it counts in M


def test_landmark_0_is_a_landmark():
    assert gap({"a": (0, 0.5)}, {"a": {0}}) == 1


def test_gap_without_predictions_is_0():
    assert gap({}, {"a": {1}}) == 0


def test_gap_takes_arrays():
    ids, landmarks = np.array(["a", "b"]), np.array([1, -1])
    solution = {"a": frozenset({1}), "b": frozenset({2})}
    assert global_average_precision(ids, landmarks, np.array([0.5, 0.9]), solution) == 0.5


def test_gap_refuses_what_it_cannot_rank():
    with pytest.raises(ValueError, match="none of 2 has one"):
        gap({"a": (1, 0.5)}, {"a": set(), "b": set()})
    with pytest.raises(ValueError, match="image 'b' has several"):
        global_average_precision(["a", "b", "b"], [1, None, 2], [0.5] * 3, {"a": {1}, "b": {1}})
    with pytest.raises(ValueError, match="image 'z' is not in the solution"):
        gap({"z": (1, 0.5)}, {"a": {1}})
    with pytest.raises(ValueError, match="finite numbers, image 'a' has nan"):
        gap({"a": (1, np.nan)}, {"a": {1}})
    with pytest.raises(ValueError, match="got 1, 2 and"):
        global_average_precision(["a"], [1, 2], [0.5], {"a": {1}})


LEVELS = [0.0, 0.25, 0.5, 0.75, 1.0]  # many ties


@st.composite
def graded(draw):
    """Predictions and solution of a few images."""
    ids = draw(st.lists(st.text("abcé", min_size=1, max_size=3), unique=True, min_size=1))
    few = st.integers(0, 3)
    solution = {image: draw(st.frozensets(few, max_size=2)) for image in ids}
    solution[ids[0]] = draw(st.frozensets(few, min_size=1, max_size=2))
    shown = draw(st.permutations(ids))[: draw(st.integers(0, len(ids)))]
    scores = st.one_of(st.sampled_from(LEVELS), st.floats(-1e3, 1e3))
    return {image: (draw(st.none() | few), draw(scores)) for image in shown}, solution


def naive_gap(predictions, solution):
    """Each right prediction against every prediction that isn't behind it."""

    def not_behind(j, i):
        (_, mine), (_, other) = predictions[i], predictions[j]
        return other > mine or (other == mine and j <= i)

    listed = [image for image, (landmark, _) in predictions.items() if landmark is not None]
    right = {image for image in listed if predictions[image][0] in solution[image]}
    total = Fraction(0)
    for i in right:
        before = [j for j in listed if not_behind(j, i)]
        total += Fraction(len(right.intersection(before)), len(before))
    return total / len([marks for marks in solution.values() if marks])


@settings(deadline=None)
@given(graded())
def test_gap_equals_a_naive_one(case):
    predictions, solution = case
    assert gap(predictions, solution) == pytest.approx(float(naive_gap(predictions, solution)))
    known = {image: marks for image, marks in solution.items() if marks}
    filtered = {image: found for image, found in predictions.items() if image in known}
    assert gap(predictions, solution, landmarks_only=True) == gap(filtered, known)


@settings(deadline=None)
@given(graded(), st.randoms(use_true_random=False))
def test_gap_does_not_depend_on_the_order_of_rows(case, random):
    predictions, solution = case
    shuffled = list(predictions.items())
    random.shuffle(shuffled)
    assert gap(dict(shuffled), solution) == gap(predictions, solution)


RANKED = np.array([[5, 3, -1], [7, 5, 3], [2, 9, 4], [1, -1, -1]])


@pytest.mark.parametrize(("k", "hits"), [(1, 1), (2, 1), (3, 2)])
def test_top_k_counts_images_with_a_landmark_only(k, hits):
    truth = np.array([5, 3, 8, -1])  # the first at 1, the second at 3, the third never
    assert top_k_accuracy(RANKED, truth, k) == pytest.approx(hits / 3)


def test_top_k_refuses_what_has_no_answer():
    with pytest.raises(ValueError, match="k must be from 1 to 3.* got 4"):
        top_k_accuracy(RANKED, np.array([5, 3, 8, 1]), 4)
    with pytest.raises(ValueError, match="none of 4 has one"):
        top_k_accuracy(RANKED, np.full(4, -1), 1)
    with pytest.raises(ValueError, match=r"got \[4, 3\] and \[3\]"):
        top_k_accuracy(RANKED, np.array([5, 3, 8]), 1)


@pytest.mark.parametrize(
    ("text", "landmarks"),
    [("", set()), ("  ", set()), ("123", {123}), ("123 456", {123, 456}), ("0 7 7\n", {0, 7})],
)
def test_solution_holds_none_one_or_several_landmarks(text, landmarks):
    assert parse_solution(text) == landmarks


@pytest.mark.parametrize("text", ["12 x", "1.0", "-1", "1_000", "nan", "١", "1,2"])
def test_solution_of_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="whole numbers"):
        parse_solution(text)


@pytest.mark.parametrize(
    ("confidence", "text"),
    [
        (0.987654, "0.987654"),
        (np.float32(0.1), "0.1"),
        (np.float64(np.float32(0.1)), "0.10000000149011612"),
        (1, "1.0"),
        (0.0, "0.0"),
        (1e-7, "0.0000001"),
        (np.float32(2.5e-10), "0.00000000025"),
        (15.0, "15.0"),
    ],
)
def test_prediction_is_written_with_the_fewest_decimals(confidence, text):
    assert format_prediction(123, confidence) == f"123 {text}"


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_prediction_reads_back_exactly(landmark, confidence):
    written, decimals = format_prediction(np.int64(landmark), confidence).split(" ")
    assert (int(written), float(decimals)) == (landmark, confidence)
    assert "e" not in decimals


@given(st.floats(0, 1, width=32))
def test_float32_reads_back_exactly(confidence):
    decimals = format_prediction(1, np.float32(confidence)).split(" ")[1]
    assert np.float32(decimals) == np.float32(confidence)


def test_prediction_without_landmark_or_confidence_is_refused():
    with pytest.raises(ValueError, match="got -1"):
        format_prediction(-1, 0.5)
    with pytest.raises(ValueError, match="finite number, got nan"):
        format_prediction(1, float("nan"))

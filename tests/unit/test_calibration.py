import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from landmark_ray.kernels import calibration
from landmark_ray.kernels.calibration import (
    MAX_TEMPERATURE,
    choose_rejection_floor,
    choose_threshold,
    fallback_threshold,
    fit_temperature,
    softmax,
)
from landmark_ray.kernels.calibration import negative_log_likelihood as likelihood


def likelihood_at(temperature, logits, labels):
    return likelihood(logits.astype(np.float64) / temperature, labels, np.ones(len(labels)))


def sampled(temperature, n=20_000, classes=6, seed=0):
    """Logits, and labels drawn from their softmax at a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, classes)).astype(np.float32)
    bounds = softmax(logits, temperature).cumsum(axis=1)
    labels = (rng.random((n, 1)) > bounds).sum(axis=1)
    return logits, labels.clip(max=classes - 1)


@st.composite
def classified(draw):
    n, classes = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    logits = draw(hnp.arrays(np.float32, (n, classes), elements=st.floats(-50, 50, width=32)))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    return logits, labels


def test_softmax_by_hand():
    logits = np.log([[1.0, 3.0], [1.0, 1.0]])
    np.testing.assert_allclose(softmax(logits), [[1 / 4, 3 / 4], [1 / 2, 1 / 2]])
    # at temperature 1/2 the powers are squared: 1 and 9
    np.testing.assert_allclose(softmax(logits, 0.5)[0], [1 / 10, 9 / 10])


def test_softmax_does_not_overflow_and_needs_a_temperature_above_0():
    np.testing.assert_allclose(softmax(np.array([1e4, 1e4, -1e4], np.float32), 0.05), [0.5, 0.5, 0])
    assert softmax(np.float16([60_000, 0])).dtype == np.float64
    for temperature in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="above 0 and finite"):
            softmax(np.zeros(2), temperature)


@given(classified(), st.floats(0.05, 20))
def test_temperature_keeps_the_best_class(case, temperature):
    logits = case[0]
    probabilities = softmax(logits, temperature)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    best = logits.argmax(axis=1)[:, None]
    assert (np.take_along_axis(probabilities, best, 1)[:, 0] == probabilities.max(axis=1)).all()


def test_likelihood_by_hand():
    logits = np.log(np.array([[1, 3], [1, 1]], np.float32))
    labels = np.array([1, 0])
    wanted = (-math.log(3 / 4) - math.log(1 / 2)) / 2
    assert likelihood_at(1, logits, labels) == pytest.approx(wanted)
    weighted = (-3 * math.log(3 / 4) - math.log(1 / 2)) / 4
    found = likelihood(logits, labels, np.array([3.0, 1.0]))
    assert found == pytest.approx(weighted)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 6.0])
def test_known_temperature_is_found(temperature):
    assert fit_temperature(*sampled(temperature)) == pytest.approx(temperature, rel=0.05)


def test_best_temperature_of_two_classes_by_hand():
    # logits apart by 2 and right in 3 of 4: 1 / (1 + exp(-2 / T)) = 3/4, so T = 2 / ln 3
    logits = np.tile(np.float32([2, 0]), (4, 1))
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(
        2 / math.log(3), rel=1e-5
    )


def test_weights_count_like_repeated_rows():
    logits, labels = sampled(2.0, n=300)
    times = np.random.default_rng(1).integers(0, 4, 300)
    repeated = likelihood_at(1, np.repeat(logits, times, axis=0), np.repeat(labels, times))
    assert likelihood(logits, labels, times) == pytest.approx(repeated)


def test_logits_in_parts_give_the_same(monkeypatch):
    logits, labels = sampled(2.0, n=101)
    whole = fit_temperature(logits, labels), likelihood_at(1, logits, labels)
    monkeypatch.setattr(calibration, "_CELLS", 60)  # 10 rows
    parts = fit_temperature(logits, labels), likelihood_at(1, logits, labels)
    assert parts == pytest.approx(whole)


@settings(deadline=None)
@given(classified())
def test_no_other_temperature_is_better(case):
    found = fit_temperature(*case)
    assert 1 / MAX_TEMPERATURE <= found <= MAX_TEMPERATURE
    best = likelihood_at(found, *case)
    assert best <= likelihood_at(1, *case) + 1e-12
    for other in np.geomspace(1 / MAX_TEMPERATURE, MAX_TEMPERATURE, 31):
        assert best <= likelihood_at(other, *case) + 1e-4


def test_separable_logits_reach_the_bound():
    logits = np.float32([[0.1, 0], [0, 0.1]])
    assert fit_temperature(logits, np.array([0, 1])) == pytest.approx(1 / MAX_TEMPERATURE, rel=1e-4)
    assert fit_temperature(logits, np.array([1, 0])) == pytest.approx(MAX_TEMPERATURE, rel=1e-4)


def test_separable_logits_are_made_no_colder_than_perfect():
    found = fit_temperature(np.float32([[10, 0], [0, 10]]), np.array([0, 1]))
    assert 1 / MAX_TEMPERATURE < found < 0.1  # exp(-10 / 0.05) is far below what float64 adds to 1


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.zeros((0, 3)), []),
        (np.array([[3.0], [5.0]]), [0, 0]),
        (np.full((2, 3), 7.0), [0, 2]),
        (np.array([[9000.0, 0.0]]), [0]),
    ],
    ids=["no rows", "one class", "equal logits", "perfect at 1"],
)
def test_temperature_is_1_where_none_is_better(logits, labels):
    assert fit_temperature(logits.astype(np.float32), np.array(labels, int)) == 1.0


def test_labels_of_one_class_still_have_a_best_temperature():
    logits = np.float32([[2, 0], [2, 0], [2, 0], [0, 2]])  # class 0 all: right in 3 of 4
    assert fit_temperature(logits, np.zeros(4, int)) == pytest.approx(2 / math.log(3), rel=1e-5)


def test_fit_refuses_what_does_not_fit():
    logits = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"got \[2, 3\] and \[1\]"):
        fit_temperature(logits, np.array([0]))
    with pytest.raises(ValueError, match="from 0 to 2, got 3"):
        fit_temperature(logits, np.array([0, 3]))
    with pytest.raises(ValueError, match="from 0 to 2, got -1"):
        fit_temperature(logits, np.array([0, -1]))
    with pytest.raises(ValueError, match="not negative"):
        likelihood(logits, np.array([0, 1]), np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="logits must be finite"):
        fit_temperature(np.float32([[0, np.nan]]), np.array([0]))
    with pytest.raises(ValueError, match="a weight above 0"):
        likelihood(np.zeros((0, 3), np.float32), np.zeros(0, int), np.zeros(0))


def test_threshold_lies_in_the_middle_of_the_gap():
    # accepting 2: F1 = 2*2/(2+3); all 5: 2*2/(5+3)
    found = choose_threshold(
        [0.9, 0.8, 0.4, 0.3, 0.2], [True, True, False, False, False], landmarks=3
    )
    assert found.value == pytest.approx(0.6)
    assert (found.precision, found.recall) == pytest.approx((1, 2 / 3))
    assert found.f1 == pytest.approx(4 / 5)


def test_nothing_is_rejected_where_that_is_best():
    found = choose_threshold([0.9, 0.2, 0.1], [True, False, True], landmarks=2)
    # accepting 1: 2/(1+2); 2: 2/(2+2); 3: 4/(3+2)
    assert found.value == 0.0
    assert (found.precision, found.recall, found.f1) == pytest.approx((2 / 3, 1, 4 / 5))


def test_accepting_all_wins_by_the_gap_down_to_0():
    # accepting 1: 2*1/(1+2); all 4: 2*2/(4+2)
    hits = [True, False, False, True]
    assert choose_threshold([0.9, 0.8, 0.6, 0.6], hits, landmarks=2).value == 0.0
    assert choose_threshold([0.9, 0.2, 0.1, 0.1], hits, landmarks=2).value == pytest.approx(0.55)


def test_equal_confidences_are_not_parted():
    found = choose_threshold([0.5, 0.5, 0.1], [True, False, False], landmarks=1)
    assert found.value == pytest.approx(0.3)
    assert found.precision == 1 / 2


@pytest.mark.parametrize(
    ("confidences", "value"),
    [([0.9, 0.8, 0.7, 0.5, 0.2], 0.35), ([0.9, 0.4, 0.4, 0.3, 0.2], 0.65)],
)
def test_of_equally_good_thresholds_the_widest_gap_wins(confidences, value):
    # F1 is 2*1/(1+2) when 1 is accepted, and the same when 4 are: 2*2/(4+2)
    found = choose_threshold(confidences, [True, False, False, True, False], landmarks=2)
    assert (found.value, found.f1) == pytest.approx((value, 2 / 3))


def test_of_equally_wide_gaps_the_lowest_is_taken():
    found = choose_threshold(
        [0.75, 0.5, 0.5, 0.5, 0.25], [True, False, False, True, False], landmarks=2
    )
    assert found.value == 0.375  # accepting 1: 2/(1+2); 4: 4/(4+2)


@pytest.mark.parametrize("high", [1.0, 0.5, np.nextafter(0.5, 1), np.nextafter(0.5, 0)])
def test_neighbouring_numbers_are_told_apart(high):
    found = choose_threshold([np.nextafter(high, 0), high], [False, True], landmarks=1)
    assert found.value == high


@pytest.mark.parametrize("confidences", [[], [0.9, 0.4]])
def test_without_a_correct_prediction_nothing_is_rejected(confidences):
    found = choose_threshold(confidences, [False] * len(confidences), landmarks=2)
    assert (found.value, found.precision, found.recall, found.f1) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("min_threshold", "wanted"),
    [(0.1, (0.6, 1, 2 / 3)), (0.85, (0.85, 1, 1 / 3)), (0.95, (0.95, 0, 0)), (1.0, (1, 0, 0))],
)
def test_threshold_is_no_lower_than_the_least(min_threshold, wanted):
    sure, hits = [0.9, 0.8, 0.4, 0.3, 0.2], [True, True, False, False, False]
    found = choose_threshold(sure, hits, landmarks=3, min_threshold=min_threshold)
    assert (found.value, found.precision, found.recall) == pytest.approx(wanted)
    assert choose_threshold([0.4], [False], landmarks=1, min_threshold=0.5).value == 0.5


def test_usual_confidence_is_what_all_but_a_twentieth_of_the_right_answers_reach():
    right = np.arange(1, 101) / 100
    found = fallback_threshold(np.append(right, 0.001), np.append(np.ones(100, bool), False))
    assert (right >= found).mean() == pytest.approx(0.95, abs=0.011)
    assert fallback_threshold([0.7, 0.9, 0.8], [True] * 3) == 0.7
    assert fallback_threshold([0.9], [False]) == fallback_threshold([], []) == 0.5


def test_threshold_refuses_what_is_no_validation():
    with pytest.raises(ValueError, match="got 0"):
        choose_threshold([0.5], [False], landmarks=0)
    with pytest.raises(ValueError, match="from 0 to 1, got 1.2"):
        choose_threshold([1.2], [True], landmarks=1)


def f1_at(threshold, rows, landmarks):
    accepted = [hit for score, hit in rows if score >= threshold]
    return 2 * sum(accepted) / (len(accepted) + landmarks)


SCORES = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))


@settings(deadline=None)
@given(
    st.lists(st.tuples(SCORES, st.booleans()), min_size=1),
    st.integers(1, 5),
    st.lists(st.floats(0, 1)),
    st.randoms(use_true_random=False),
)
def test_no_other_threshold_has_a_higher_f1(rows, more, others, random):
    landmarks = sum(hit for _, hit in rows) + more
    scores, hits = zip(*rows, strict=True)
    found = choose_threshold(scores, hits, landmarks=landmarks)
    assert 0 <= found.value <= 1
    assert found.f1 == pytest.approx(f1_at(found.value, rows, landmarks))
    cuts = sorted({0.0, 1.0, *scores})
    middles = [(a + b) / 2 for a, b in zip(cuts, cuts[1:], strict=False)]
    for other in [*cuts, *middles, *others]:
        assert f1_at(other, rows, landmarks) <= found.f1
    shuffled = random.sample(rows, len(rows))
    assert choose_threshold(*zip(*shuffled, strict=True), landmarks=landmarks) == found


def test_smoothing_keeps_images_that_are_all_correct_from_full_confidence():
    logits = np.float32([[4, 0], [0, 4]])
    found = fit_temperature(logits, np.array([0, 1]), smoothing=0.1)
    assert softmax(logits, found)[0, 0] == pytest.approx(0.95, abs=1e-4)


def test_floor_is_half_of_what_nearly_all_right_answers_reach():
    assert choose_rejection_floor([0.8, 0.4, 0.1], [True, True, False]) == pytest.approx(0.2)
    assert choose_rejection_floor([0.3], [False]) == 0.0
    many = np.linspace(0.0, 1.0, 10_001)
    assert choose_rejection_floor(many, np.ones(10_001, bool)) == pytest.approx(0.0005)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmark_ray.kernels.metrics import (
    expected_calibration_error,
    precision_recall,
    reliability,
)

LEVELS = [0.0, 0.25, 0.5, 0.75, 1.0]  # many ties


def test_reliability_by_hand():
    found = reliability([0.0, 0.25, 0.3, 0.5, 0.9, 1.0], [False, True, True, False, True, True], 4)
    # (0, 1/4] holds 0 and 1/4, (1/4, 1/2] 0.3 and 1/2, (3/4, 1] 0.9 and 1
    assert found.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.count.tolist() == [2, 2, 0, 2]
    np.testing.assert_allclose(found.confidence, [0.125, 0.4, np.nan, 0.95])
    np.testing.assert_allclose(found.accuracy, [0.5, 0.5, np.nan, 1.0])


def test_calibration_error_by_hand():
    confidences, correct = [0.0, 0.25, 0.3, 0.5, 0.9, 1.0], [False, True, True, False, True, True]
    wanted = (2 * 0.375 + 2 * 0.1 + 2 * 0.05) / 6  # of the bins above
    assert expected_calibration_error(confidences, correct, 4) == pytest.approx(wanted)
    assert expected_calibration_error([1.0, 1.0], [True, True]) == 0
    assert expected_calibration_error([1.0, 1.0], [True, False]) == 0.5


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1), st.integers(1, 20))
def test_every_prediction_is_in_one_bin(rows, bins):
    confidences, correct = map(np.array, zip(*rows, strict=True))
    found = reliability(confidences, correct, bins)
    assert len(found.count) == bins and found.count.sum() == len(rows)
    full = found.count > 0
    assert (found.confidence[full] >= found.edges[:-1][full] - 1e-12).all()
    assert (found.confidence[full] <= found.edges[1:][full] + 1e-12).all()
    assert found.accuracy[full] @ found.count[full] == pytest.approx(correct.sum())
    assert 0 <= expected_calibration_error(confidences, correct, bins) <= 1


def test_calibration_refuses_what_is_no_prediction():
    with pytest.raises(ValueError, match="from 0 to 1, got 1.5"):
        reliability([0.5, 1.5], [True, True])
    with pytest.raises(ValueError, match="from 0 to 1, got nan"):
        reliability([np.nan], [True])
    with pytest.raises(ValueError, match=r"got \[2\] and \[1\]"):
        reliability([0.5, 0.5], [True])
    with pytest.raises(ValueError, match="must be bool, got int64"):
        reliability([0.5, 0.5], [1, 7])
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        reliability([0.5], [True], 0)
    with pytest.raises(ValueError, match="at least 1 prediction"):
        expected_calibration_error([], [])
    assert reliability([], [], 3).count.tolist() == [0, 0, 0]


def test_precision_and_recall_by_hand():
    curve = precision_recall(
        [0.5, 0.9, 0.7, 0.5, 0.1], [True, True, False, True, False], landmarks=4
    )
    assert curve.thresholds.tolist() == [0.9, 0.7, 0.5, 0.1]
    assert curve.precision.tolist() == pytest.approx([1 / 1, 1 / 2, 3 / 4, 3 / 5])
    assert curve.recall.tolist() == pytest.approx([1 / 4, 1 / 4, 3 / 4, 3 / 4])
    assert curve.f1.tolist() == pytest.approx([2 / 5, 2 / 6, 6 / 8, 6 / 9])


@given(st.lists(st.tuples(st.sampled_from(LEVELS), st.booleans())), st.integers(1, 5))
def test_curve_is_what_each_threshold_accepts(rows, more):
    landmarks = sum(hit for _, hit in rows) + more
    confidences, correct = [score for score, _ in rows], [hit for _, hit in rows]
    curve = precision_recall(confidences, correct, landmarks=landmarks)
    assert curve.thresholds.tolist() == sorted(set(confidences), reverse=True)
    for at, threshold in enumerate(curve.thresholds):
        accepted = [hit for score, hit in rows if score >= threshold]
        precision, recall = sum(accepted) / len(accepted), sum(accepted) / landmarks
        assert (curve.precision[at], curve.recall[at]) == (precision, recall)
        if precision + recall:
            assert curve.f1[at] == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize("landmarks", [0, 1])
def test_precision_recall_needs_a_landmark_for_each_correct_prediction(landmarks):
    with pytest.raises(ValueError, match=rf"correct predictions \(2\), got {landmarks}"):
        precision_recall([0.5, 0.6], [True, True], landmarks=landmarks)

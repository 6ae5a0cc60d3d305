import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmark_ray.kernels.topk import GroupAnswer, top_k


def answer(landmarks, probabilities, temperature=1.0):
    logits = np.log(np.array(probabilities, np.float32))
    return GroupAnswer(np.array(landmarks), logits, temperature)


def test_surest_landmark_of_all_groups_is_first_and_other_is_no_landmark():
    small = answer([7, 3], [[0.2, 0.1, 0.7], [0.05, 0.6, 0.35]])
    large = answer([5], [[0.4, 0.6], [0.5, 0.5]])
    landmarks, confidences = top_k([small, large], 2)
    assert landmarks.tolist() == [[5, 7], [3, 5]]
    np.testing.assert_allclose(confidences, [[0.4, 0.2], [0.6, 0.5]], rtol=1e-5)


def test_temperature_sharpens_a_group():
    found = top_k([answer([1], [[0.6, 0.4]], 0.5), answer([2], [[0.65, 0.35]])], 1)
    assert found[0].tolist() == [[1]]
    assert found[1][0, 0] == pytest.approx(0.36 / 0.52, rel=1e-5)


def test_equally_sure_ones_come_by_id_and_missing_ones_are_filled_up():
    landmarks, confidences = top_k([answer([9, 4], [[0.5, 0.5]]), answer([2], [[1.0]])], 5)
    assert landmarks.tolist() == [[2, 4, 9, -1, -1]]
    np.testing.assert_allclose(confidences, [[1, 0.5, 0.5, 0, 0]])


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    k=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_top_k_equals_sorting_everything(sizes, k, seed):
    rng = np.random.default_rng(seed)
    ids = rng.permutation(100)[: sum(sizes)]
    answers = [
        GroupAnswer(part, rng.normal(size=(3, len(part) + int(rng.integers(2)))).astype("f4"), 0.7)
        for part in np.split(ids, np.cumsum(sizes)[:-1])
    ]
    landmarks, confidences = top_k(answers, k)
    for row in range(3):
        pairs = [
            (-c, i)
            for a in answers
            for i, c in zip(a.landmarks.tolist(), a.confidences()[row].tolist(), strict=True)
        ]
        wanted = sorted(pairs)[:k]
        n = len(wanted)
        assert landmarks[row].tolist() == [i for _, i in wanted] + [-1] * (k - n)
        assert confidences[row].tolist() == [-c for c, _ in wanted] + [0.0] * (k - n)


def test_no_answer_and_no_k_are_refused():
    with pytest.raises(ValueError, match="got 0 and 1"):
        top_k([], 1)
    with pytest.raises(ValueError, match="k of 1 or more"):
        top_k([answer([1], [[1.0]])], 0)

"""One confidence from what heads and index say."""

import numpy as np
import pytest

from landmark_ray.kernels.fusion import (
    LEAST,
    STRANGERS,
    Candidates,
    Fusion,
    candidates,
    fit_fusion,
)
from landmark_ray.kernels.landmark_similarity import Similarities


def index(landmarks, values, floor=0.1):
    return Similarities(
        np.array([landmarks]), np.array([values], np.float32), np.array([floor], np.float32)
    )


def test_candidates_are_those_of_heads_and_of_the_index():
    heads = np.array([[7, 8, -1]]), np.array([[0.6, 0.3, 0.0]])
    found = candidates(heads, index([9, 7, STRANGERS, -1], [0.8, 0.5, 0.4, -1]))
    assert found.landmarks.tolist() == [[7, 8, 9]]
    assert found.heads.tolist() == [[0.6, 0.3, 0.0]]
    assert found.similarity[0].tolist() == pytest.approx([0.5, 0.1, 0.8])
    assert found.strangers.tolist() == pytest.approx([0.4])


def test_without_near_strangers_they_are_as_similar_as_the_last_neighbour():
    found = candidates((np.array([[7]]), np.array([[0.6]])), index([9], [0.8]))
    assert found.strangers.tolist() == pytest.approx([0.1])


def test_evidence_is_confidence_similarity_and_its_leads():
    found = Candidates(
        np.array([[7, 8, -1]]),
        np.array([[0.5, 0.0, 0.0]]),
        np.array([[0.6, 0.2, -1]], np.float32),
        np.array([0.3], np.float32),
    )
    first, second = found.evidence()[0, :2]
    assert first == pytest.approx([np.log(0.5), 0.6, 0.4, 0.3])
    assert second == pytest.approx([np.log(LEAST), 0.2, -0.4, -0.1])


def test_a_lone_candidate_leads_over_nothing():
    found = Candidates(
        np.array([[7]]), np.array([[0.5]]), np.array([[0.6]], np.float32), np.zeros(1, np.float32)
    )
    assert found.evidence()[0, 0].tolist() == pytest.approx([np.log(0.5), 0.6, 1.6, 0.6])


def made(count, seed=0):
    """Photos of which half show their first candidate; heads and index are right in most cases."""
    rng = np.random.default_rng(seed)
    shows = rng.random(count) < 0.5
    similarity = np.stack([0.4 + 0.15 * shows, np.full(count, 0.3)], 1)
    similarity += rng.normal(0, 0.1, similarity.shape)
    heads = np.stack([0.3 + 0.15 * shows, np.full(count, 0.1)], 1)
    heads = (heads + rng.normal(0, 0.1, heads.shape)).clip(0.01, 0.99)
    found = Candidates(
        np.tile([7, 8], (count, 1)), heads, similarity.astype(np.float32), np.full(count, 0.35)
    )
    return found, np.stack([shows, np.zeros(count, bool)], 1)


def test_confidences_are_the_shares_of_right_answers():
    fusion = fit_fusion(*made(4000))
    found, right = made(4000, seed=1)
    landmarks, confidences = fusion.top_k(found, 1)
    hits = right[np.arange(4000), (landmarks[:, 0] == 8).astype(int)]
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        of = (confidences[:, 0] >= low) & (confidences[:, 0] < high)
        assert of.sum() > 50
        assert hits[of].mean() == pytest.approx(confidences[of, 0].mean(), abs=0.08)


def test_few_photos_that_are_all_right_are_not_certain():
    found, _ = made(6)
    right = np.tile([True, False], (6, 1))
    _, confidences = fit_fusion(found, right).top_k(found, 1)
    assert (confidences < 0.999).all() and (confidences > 0.5).all()


def test_weights_are_never_negative():
    found, right = made(500)
    assert min(fit_fusion(found, ~right).weights) >= 0


def test_there_must_be_a_candidate():
    found = Candidates(
        np.full((2, 1), -1), np.zeros((2, 1)), np.full((2, 1), -1, np.float32), np.zeros(2)
    )
    with pytest.raises(ValueError, match="no candidates"):
        fit_fusion(found, np.zeros((2, 1), bool))


def test_answers_are_filled_up():
    fusion = Fusion((1.0, 1.0, 1.0, 1.0), 0.0)
    found = candidates((np.array([[7, -1]]), np.array([[0.6, 0.0]])), index([-1], [-1]))
    landmarks, confidences = fusion.top_k(found, 3)
    assert landmarks.tolist() == [[7, -1, -1]]
    assert confidences[0, 1:].tolist() == [0, 0] and confidences[0, 0] > 0

"""One confidence from what heads and index say."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from landmark_ray.kernels.fusion import (
    KINDS,
    LEAST,
    Candidates,
    Fusion,
    Regression,
    fit_fusion,
    fit_regression,
    for_photos,
)


def made_of(landmarks, heads, nearest, mean, strangers, usual=0.6):
    return Candidates(
        np.array([landmarks]),
        np.array([heads], float),
        np.array([nearest], np.float32),
        np.array([mean], np.float32),
        np.full((1, len(mean)), usual, np.float32),
        np.array([strangers], np.float32),
    )


def test_evidence_is_confidence_and_leads_over_landmarks_and_strangers():
    found = made_of([7, 8, -1], [0.5, 0, 0], [0.6, 0.2, -1], [0.7, 0.4, -1], 0.3)
    first, second = found.evidence()[0, :2]
    assert first == pytest.approx([np.log(0.5), 0.3, 0.3, 0, 0.1])
    assert second == pytest.approx([np.log(LEAST), -0.3, -0.1, 0, -0.2])


def test_a_lone_candidate_leads_over_nothing():
    found = made_of([7], [0.5], [0.6], [0.7], 0.0)
    wanted = [np.log(0.5), 1.7, 0.6, 0, 0.1]
    assert found.evidence()[0, 0].tolist() == pytest.approx(wanted, abs=1e-6)


def photos(count, seed=0):
    """Photos of which half show their first candidate; heads and index are right in most cases."""
    rng = np.random.default_rng(seed)
    shows = rng.random(count) < 0.5
    similarity = np.stack([0.4 + 0.15 * shows, np.full(count, 0.3)], 1)
    similarity += rng.normal(0, 0.1, similarity.shape)
    heads = np.stack([0.3 + 0.15 * shows, np.full(count, 0.1)], 1)
    heads = (heads + rng.normal(0, 0.1, heads.shape)).clip(0.01, 0.99)
    ids, strangers = np.tile([7, 8], (count, 1)), np.full(count, 0.35, np.float32)
    near = similarity.astype(np.float32)
    right = np.stack([shows, np.zeros(count, bool)], 1)
    return Candidates(ids, heads, near, near, np.full_like(near, 0.5), strangers), right


def test_confidences_are_the_shares_of_right_answers():
    fusion = fit_fusion(*photos(4000))
    found, right = photos(4000, seed=1)
    landmarks, confidences = fusion.top_k(found, 1)
    hits = right[np.arange(4000), (landmarks[:, 0] == 8).astype(int)]
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        of = (confidences[:, 0] >= low) & (confidences[:, 0] < high)
        assert of.sum() > 50
        assert hits[of].mean() == pytest.approx(confidences[of, 0].mean(), abs=0.08)


def test_few_photos_that_are_all_right_are_not_certain():
    found, _ = photos(6)
    _, confidences = fit_fusion(found, np.tile([True, False], (6, 1))).top_k(found, 1)
    assert (confidences < 0.999).all() and confidences.mean() > 0.5


@pytest.mark.parametrize("answer", [True, False])
def test_candidates_that_are_all_right_or_all_wrong_give_finite_confidences(answer):
    found, _ = photos(6)
    fusion = fit_fusion(found, np.full((6, 2), answer))
    confidences = fusion.confidences(found)
    assert np.isfinite(fusion.trained.bias) and ((confidences > 0) & (confidences < 1)).all()


def test_without_a_candidate_there_is_a_fusion_nevertheless():
    found = made_of([-1], [0], [-1], [-1], 0.0)
    landmarks, confidences = fit_fusion(found, np.zeros((1, 1), bool)).top_k(found, 2)
    assert landmarks.tolist() == [[-1, -1]] and confidences.tolist() == [[0, 0]]


def test_weights_are_never_negative():
    found, right = photos(500)
    assert min(fit_regression(found, ~right).weights) >= 0


def test_evidence_can_be_left_out():
    regression = fit_regression(*photos(500), KINDS[1:])
    assert regression.weights[0] == 0 and max(regression.weights) > 0


def test_landmarks_that_heads_know_are_answered_half_without_the_heads():
    found, right = photos(500)
    fusion = fit_fusion(found, right)
    with_heads, without = (fit_regression(found, right, kinds) for kinds in (KINDS, KINDS[1:]))
    assert with_heads.weights[0] > 0
    margins = [one.margin(found.evidence()) for one in (fusion.trained, with_heads, without)]
    np.testing.assert_allclose(margins[0], (margins[1] + margins[2]) / 2)


def test_heads_do_not_count_for_landmarks_that_they_do_not_know():
    fusion = Fusion(Regression((1.0, 5.0, 5.0), 0.0), Regression((0.0, 5.0, 5.0), -1.0))
    found = made_of([7, 8], [0.9, np.nan], [0.2, 0.6], [0.1, 0.6], 0.1)
    landmarks, confidences = fusion.top_k(found, 2)
    assert landmarks.tolist() == [[8, 7]]
    assert confidences[0, 0] == pytest.approx(1 / (1 + np.exp(1 - 5 * 0.5 - 5 * 0.5)))


def test_answers_are_filled_up():
    found = made_of([7, -1], [0.6, 0], [0.5, -1], [0.5, -1], 0.1)
    landmarks, confidences = Fusion(*2 * [Regression((1.0, 1.0, 1.0), 0.0)]).top_k(found, 3)
    assert landmarks.tolist() == [[7, -1, -1]]
    assert confidences[0, 1:].tolist() == [0, 0] and confidences[0, 0] > 0


def asked(found, inliers):
    """The candidates with inliers of the first photo."""
    return found.with_inliers([dict(zip(found.landmarks[0].tolist(), inliers, strict=True))])


def test_inliers_that_chance_reaches_are_no_evidence():
    found = made_of([7, 8, 9], [0.5, 0, 0], [0.6, 0.2, 0.1], [0.7, 0.4, 0.1], 0.3)
    evidence = asked(found, [55, 5, 0]).evidence()[0, :, 3]
    assert evidence.tolist() == pytest.approx([np.log(10), 0, 0])
    assert (found.evidence() == asked(found, [0, 0, 0]).evidence()).all()


def test_verified_photos_are_answered_with_their_inliers_and_others_as_before():
    rng = np.random.default_rng(0)
    found, right = photos(1000)
    inliers = np.where(right, rng.integers(5, 60, right.shape), rng.integers(0, 8, right.shape))
    known = rng.random(1000) < 0.7
    rows = [{7: a, 8: b} if k else {} for (a, b), k in zip(inliers.tolist(), known, strict=True)]
    both = found.with_inliers(rows)
    fusion = fit_fusion(both, right)
    assert fusion.verified is not None and fusion.verified.trained.weights[3] > 1
    assert fit_fusion(found, right) == replace(fusion, verified=None)
    plain, verified = fusion(found), fusion.confidences(both)
    ask = fusion.is_doubtful(plain) & known
    assert ask.any() and (verified[~ask] == plain[~ask]).all()
    shown = ask & right[:, 0]
    assert verified[shown, 0].mean() > plain[shown, 0].mean() + 0.1
    always = for_photos(fusion, "always").confidences(both)
    assert (always[known] == fusion.verified(both)[known]).all()
    assert (for_photos(fusion, "off").confidences(both) == plain).all()


def test_photos_that_are_less_similar_than_usual_are_doubted():
    """All strangers resemble one landmark, whose own photos resemble each other more."""
    rng = np.random.default_rng(0)
    shows, of_tight = rng.random((2, 2000)) < 0.5
    usual = np.where(of_tight, 0.9, 0.5).astype(np.float32)
    mean = (usual - 0.3 * ~shows + rng.normal(0, 0.05, 2000)).astype(np.float32)[:, None]
    ids, strangers = np.full((2000, 1), 7), np.zeros(2000, np.float32)
    found = Candidates(ids, np.zeros((2000, 1)), mean, mean, usual[:, None], strangers)
    confidences = fit_fusion(found, shows[:, None]).confidences(found)[:, 0]
    assert confidences[shows].min() > confidences[~shows].max() - 0.5
    assert ((confidences > 0.5) == shows).mean() > 0.98


def test_a_fusion_of_an_older_bundle_asks_no_exemplars():
    older = {"weights": [1.0, 5.0, 5.0], "bias": 0.0}
    fusion = TypeAdapter(Fusion).validate_python({"trained": older, "enrolled": older})
    found, _ = photos(5)
    assert not fusion.is_doubtful(fusion.confidences(found)).any()

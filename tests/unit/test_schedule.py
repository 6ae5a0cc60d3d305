import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from landmark_ray.kernels.schedule import decide, early, exhaustive

MIN_INLIERS = 11


@st.composite
def match_graphs(draw):
    """Inliers of every pair of a class, seeded order, and which partners look likely."""
    n = draw(st.integers(1, 14))
    likely_inliers = st.sampled_from([0, 0, 0, 3, 10, 11, 11, 12, 40])  # many ties at the threshold
    inliers = {pair: draw(likely_inliers) for pair in itertools.combinations(range(n), 2)}
    order = draw(st.permutations(range(n)))
    likely = [draw(st.permutations(range(n))) for _ in range(n)]
    return n, inliers, order, likely


def run(graph, mode, cap):
    n, inliers, order, likely = graph
    seen = []

    def evaluate(i, j):
        seen.append((i, j))
        return inliers[i, j]

    if mode == "exhaustive":
        exhaustive(n, evaluate)
    else:
        early(order, evaluate, lambda i: likely[i], min_inliers=MIN_INLIERS, max_images=cap)
    assert len(seen) == len(set(seen)), "a pair was evaluated twice"
    names = [f"{i:02d}" for i in order]
    pairs = [(f"{i:02d}", f"{j:02d}", inliers[i, j]) for i, j in seen]
    return seen, names, pairs


@settings(max_examples=500, deadline=None)
@given(match_graphs(), st.integers(1, 15), st.integers(1, 8))
def test_early_keeps_exactly_what_exhaustive_keeps(graph, cap, min_images):
    kept = {}
    for mode in ("early", "exhaustive"):
        seen, names, pairs = run(graph, mode, cap)
        decisions = decide(
            names, pairs, min_inliers=MIN_INLIERS, max_images=cap, min_images=min_images
        )
        kept[mode] = {name: (d.keep, d.reason) for name, d in decisions.items()}
    assert kept["early"] == kept["exhaustive"]


@settings(deadline=None)
@given(match_graphs())
def test_early_never_evaluates_more_pairs_than_there_are(graph):
    n = graph[0]
    assert (
        len(run(graph, "early", 100)[0])
        <= len(run(graph, "exhaustive", 100)[0])
        == n * (n - 1) // 2
    )


def test_class_in_which_all_match_needs_one_pair_for_two_images():
    seen = []
    early(
        range(10),
        lambda i, j: seen.append((i, j)) or 50,
        lambda i: [(i + 1) % 10],
        min_inliers=11,
        max_images=100,
    )
    assert len(seen) == 5


def test_class_is_left_once_enough_images_are_settled():
    seen = []
    early(
        range(100),
        lambda i, j: seen.append((i, j)) or 50,
        lambda i: range(100),
        min_inliers=11,
        max_images=4,
    )
    assert max(max(pair) for pair in seen) <= 4


def decided(pairs, order="abcd", **options):
    rule = {"min_inliers": 11, "max_images": 100, "min_images": 1} | options
    return decide(list(order), pairs, **rule)


def test_image_below_min_inliers_is_unverified_and_names_its_best_partner():
    found = decided([("a", "b", 10), ("a", "c", 11), ("b", "d", 3)])
    assert [found[i].reason for i in "abcd"] == ["", "unverified", "", "unverified"]
    assert (found["b"].partner, found["b"].inliers) == ("a", 10)
    assert (found["d"].partner, found["d"].inliers) == ("b", 3)


def test_of_equally_good_partners_the_smallest_id_is_named():
    assert decided([("b", "d", 20), ("c", "d", 20), ("a", "d", 20)])["d"].partner == "a"


def test_images_after_the_cap_are_over_it_whatever_they_match():
    pairs = [("a", "b", 30), ("c", "d", 30)]
    found = decided(pairs, order="badc", max_images=2)
    assert [found[i].reason for i in "abcd"] == ["", "", "over_cap", "over_cap"]


def test_class_left_with_too_few_is_dropped():
    found = decided([("a", "b", 30), ("a", "c", 5)], min_images=3)
    assert [found[i].reason for i in "abcd"] == [
        "small_class",
        "small_class",
        "unverified",
        "unverified",
    ]
    assert not any(d.keep for d in found.values())


@settings(deadline=None)
@given(match_graphs(), st.integers(1, 4))
def test_image_stays_that_has_enough_partners_at_the_threshold(graph, min_partners):
    n, inliers, order, _ = graph
    names = [f"{i:02d}" for i in order]
    pairs = [(f"{i:02d}", f"{j:02d}", count) for (i, j), count in inliers.items()]
    rule = {"min_inliers": MIN_INLIERS, "max_images": n, "min_images": 1}
    found = decide(names, pairs, **rule, min_partners=min_partners)
    for i in range(n):
        partners = sum(count >= MIN_INLIERS for pair, count in inliers.items() if i in pair)
        assert found[f"{i:02d}"].keep == (partners >= min_partners)
    assert decide(names, pairs, **rule) == decide(names, pairs, **rule, min_partners=1)


def test_second_partner_below_the_threshold_does_not_count():
    pairs = [("a", "b", 30), ("a", "c", 11), ("b", "c", 10)]
    found = decided(pairs, order="abc", min_partners=2)
    assert [found[i].reason for i in "abc"] == ["", "unverified", "unverified"]
    assert (found["b"].partner, found["b"].inliers) == ("a", 30)


def test_image_without_a_match_has_no_partner():
    found = decided([("a", "b", 0)])
    assert (found["a"].partner, found["a"].inliers) == ("", 0)


def test_decisions_do_not_depend_on_the_order_of_pairs():
    rng = np.random.default_rng(0)
    pairs = [(a, b, int(rng.integers(5, 15))) for a, b in itertools.combinations("abcdefgh", 2)]
    wanted = decided(pairs, order="hgfedcba", max_images=5)
    for _ in range(20):
        rng.shuffle(pairs)
        assert (
            decided([tuple((a, b, int(n))) for a, b, n in pairs], order="hgfedcba", max_images=5)
            == wanted
        )

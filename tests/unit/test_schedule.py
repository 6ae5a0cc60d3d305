import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from landmark_ray.kernels.pair_schedule import (
    VerifiedPairs,
    chunks,
    decide,
    pairs_of_parts,
    rounds,
    verify_until_decided,
)

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


def settled(graph, cap, min_partners, most):
    """Pairs that waves cut into parts evaluate, each part without knowing of the others."""
    n, inliers, order, likely = graph
    verified_pairs = VerifiedPairs(MIN_INLIERS, min_partners)
    seen = []
    for round_images in rounds(order, verified_pairs, max_images=cap):
        before = dict(verified_pairs.inliers)
        for part in chunks(round_images, lambda _: n - 1, most):
            mine = VerifiedPairs(MIN_INLIERS, min_partners)
            for pair, count in before.items():
                mine.add(pair, count)
            verify_until_decided(
                part, lambda i, j: inliers[i, j], lambda i: set_first(likely[i], i), mine
            )
            new = set(mine.inliers) - set(before)
            seen += sorted(new)
            for pair in new:
                verified_pairs.add(pair, mine.inliers[pair])
    return seen


def test_a_part_knows_the_pairs_of_its_images_only():
    pairs = {(0, 1): 5, (1, 2): 12, (3, 4): 0, (2, 5): 7}
    assert pairs_of_parts(pairs, [[1, 0], [5, 3], [6]]) == [
        {(0, 1): 5, (1, 2): 12},
        {(3, 4): 0, (2, 5): 7},
        {},
    ]
    assert pairs_of_parts(pairs, [[2], [1]]) == [{(1, 2): 12, (2, 5): 7}, {(0, 1): 5, (1, 2): 12}]
    assert pairs_of_parts(pairs, []) == []


def set_first(partners, image):
    return [partner for partner in partners if partner != image]


def kept(graph, pairs, **options):
    n, inliers, order, _ = graph
    rows = [(f"{i:02d}", f"{j:02d}", inliers[i, j]) for i, j in sorted(set(pairs))]
    names = [f"{i:02d}" for i in order]
    found = decide(names, rows, min_inliers=MIN_INLIERS, **options)
    return {name: (d.keep, d.reason) for name, d in found.items()}


@settings(max_examples=500, deadline=None)
@given(
    match_graphs(),
    st.integers(1, 15),
    st.integers(1, 8),
    st.integers(1, 3),
    st.integers(1, 200),
    st.sets(st.integers(0, 12)),
)
def test_lazy_matching_keeps_exactly_what_every_pair_keeps(
    graph, max_images, min_images, min_partners, most, similar
):
    options = {"max_images": max_images, "min_images": min_images, "min_partners": min_partners}
    options["similar"] = {f"{i:02d}" for i in similar}
    lazy = settled(graph, max_images, min_partners, most)
    assert kept(graph, lazy, **options) == kept(graph, graph[1], **options)


@settings(deadline=None)
@given(match_graphs(), st.integers(1, 3))
def test_undivided_no_pair_is_evaluated_twice(graph, min_partners):
    seen = settled(graph, 100, min_partners, 10_000)
    assert len(seen) == len(set(seen)) <= len(graph[1])


def complete(n, partners):
    return (n, dict.fromkeys(itertools.combinations(range(n), 2), 50), list(range(n)), partners)


def test_class_in_which_all_match_needs_one_pair_for_two_images():
    graph = complete(10, [[(i + 1) % 10] for i in range(10)])
    assert len(settled(graph, 100, 1, 10_000)) == 5


def test_class_is_left_once_enough_images_are_settled():
    graph = complete(100, [range(100)] * 100)
    assert max(max(pair) for pair in settled(graph, 4, 1, 10_000)) <= 4


def test_a_wave_holds_no_more_images_than_must_be_settled():
    verified_pairs = VerifiedPairs(MIN_INLIERS)
    sizes = []
    for round_images in rounds(range(20), verified_pairs, max_images=8):
        sizes.append(len(round_images))
        if len(sizes) == 1:  # 2 of the first 8 are verified, all others are
            verified_pairs.add((0, 1), 11)
        else:
            for image in round_images:
                verified_pairs.add((image, image + 1), 11)
    assert sizes == [8, 6]


def test_images_are_cut_where_their_pairs_are_too_many():
    assert chunks(range(6), lambda i: 5 - i, 7) == [[0], [1, 2], [3, 4, 5]]
    assert chunks(range(3), lambda _: 10, 7) == [[0], [1], [2]]
    assert chunks([], lambda _: 10, 7) == []


def decided(pairs, order="abcd", **options):
    rule = {"min_inliers": 11, "max_images": 100, "min_images": 1} | options
    return decide(list(order), pairs, **rule)


def test_image_below_min_inliers_is_unverified_and_names_its_best_partner():
    found = decided([("a", "b", 10), ("a", "c", 11), ("b", "d", 3)])
    assert [found[i].reason for i in "abcd"] == [
        "verified",
        "unverified",
        "verified",
        "unverified",
    ]
    assert (found["b"].partner, found["b"].inliers) == ("a", 10)
    assert (found["d"].partner, found["d"].inliers) == ("b", 3)


def test_of_equally_good_partners_the_smallest_id_is_named():
    assert decided([("b", "d", 20), ("c", "d", 20), ("a", "d", 20)])["d"].partner == "a"


def test_images_after_the_cap_are_over_it_whatever_they_match():
    pairs = [("a", "b", 30), ("c", "d", 30)]
    found = decided(pairs, order="badc", max_images=2)
    assert [found[i].reason for i in "abcd"] == ["verified", "verified", "over_cap", "over_cap"]


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
    assert [found[i].reason for i in "abc"] == ["verified", "unverified", "unverified"]
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


def test_a_similar_image_stays_without_a_partner_and_counts_for_the_cap_and_the_class():
    found = decided([("a", "b", 30)], similar={"b", "c"}, min_images=3)
    assert [found[i].reason for i in "abcd"] == ["verified", "verified", "similar", "unverified"]
    capped = decided([("a", "b", 30)], similar={"b", "c"}, order="cbad", max_images=2)
    assert [capped[i].reason for i in "abcd"] == ["over_cap", "verified", "similar", "over_cap"]
    assert decided([("a", "b", 30)], min_images=3)["a"].reason == "small_class"

"""Which pairs of a class are matched, and which images stay: decisions only, no features.

`early` makes exactly the kept set of `exhaustive` (see `decide`), from far fewer pairs. The reason:
whether an image stays depends only on whether *any* partner verifies it and on how many images
before it, in seeded order, stay. So an image needs no further partner after its first hit, and a
class needs no further pair once its first `max_images` verified images in that order are known.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Evaluate = Callable[[int, int], int]
"""Inliers of the pair (i, j), i < j, of a class's images."""


def exhaustive(n: int, evaluate: Evaluate) -> None:
    """Evaluate every pair of n images once, (i, j) with i < j."""
    for i in range(n):
        for j in range(i + 1, n):
            evaluate(i, j)


def early(
    order: Sequence[int],
    evaluate: Evaluate,
    likely: Callable[[int], Iterable[int]],
    *,
    min_inliers: int,
    max_images: int,
) -> None:
    """Evaluate pairs until it is settled which images of a class stay.

    Args:
        order: [n] the images 0..n-1 in seeded order, as `decide` goes through them.
        evaluate: called at most once for each pair (i, j), i < j.
        likely: for an image, all others, the likeliest partner first.
        min_inliers: inliers that verify both images of a pair.
        max_images: no image counts after so many verified ones.
    """
    verified: set[int] = set()
    tried: set[tuple[int, int]] = set()
    settled = 0
    for image in order:
        if settled == max_images:
            return
        if image not in verified:
            for partner in likely(image):
                pair = (min(image, partner), max(image, partner))
                if image == partner or pair in tried:
                    continue
                tried.add(pair)
                if evaluate(*pair) >= min_inliers:
                    verified.update(pair)
                    break
        settled += image in verified


@dataclass(frozen=True)
class Decision:
    """Whether an image stays, and its best partner among the evaluated pairs."""

    keep: bool
    reason: str
    partner: str
    inliers: int


def decide(
    order: Sequence[str],
    pairs: Iterable[tuple[str, str, int]],
    *,
    min_inliers: int,
    max_images: int,
    min_images: int,
    min_partners: int = 1,
) -> dict[str, Decision]:
    """Decide for every image of a class.

    Args:
        order: the class's image ids in seeded order.
        pairs: (image_a, image_b, inliers) of every evaluated pair, each once.
        min_inliers: an image stays with so many inliers against at least `min_partners` others.
        max_images: only the first so many of those stay.
        min_images: the class is dropped when fewer are left.
        min_partners: more than 1 asks for the pairs of `exhaustive`.

    Returns:
        image id -> decision. The reason is empty for an image that stays, else `unverified`,
        `over_cap` (comes after the first `max_images`; it may never have been matched) or
        `small_class`. Of equally good partners the one with the smallest id is named.
    """
    best: dict[str, tuple[int, str]] = {}
    partners: Counter[str] = Counter()
    for a, b, inliers in pairs:
        for image, partner in ((a, b), (b, a)):
            partners[image] += inliers >= min_inliers
            count, name = best.get(image, (0, ""))
            if inliers > count or (inliers == count and inliers and partner < name):
                best[image] = (inliers, partner)
    reasons: dict[str, str] = {}
    kept = 0
    for image in order:
        verified = partners[image] >= min_partners
        reasons[image] = "over_cap" if kept == max_images else "" if verified else "unverified"
        kept += not reasons[image]
    if kept < min_images:
        reasons = {image: reason or "small_class" for image, reason in reasons.items()}
    return {
        image: Decision(
            not reason, reason, best.get(image, (0, ""))[1], best.get(image, (0, ""))[0]
        )
        for image, reason in reasons.items()
    }

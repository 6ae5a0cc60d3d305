"""Which pairs of a class are matched, and which images stay: decisions only, no features.

Lazy matching makes exactly the kept set of matching every pair (see `decide`), from far fewer
pairs. The reason: whether an image stays depends only on whether *enough* partners verify it and on
how many images before it, in seeded order, stay. So an image needs no further partner once it has
enough, and a class needs no further pair once its first `max_images` verified images in that order
are known. What is evaluated besides never changes the outcome, so parts of a class can be settled
side by side without knowing of each other.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

Pair = tuple[int, int]
"""Two of a class's images (i, j), i < j."""


@dataclass
class VerifiedPairs:
    """The evaluated pairs of a class and the images that they verify.

    Attributes:
        min_inliers: inliers that verify both images of a pair.
        min_partners: an image is verified by so many partners.
        inliers: of each evaluated pair.
    """

    min_inliers: int
    min_partners: int = 1
    inliers: dict[Pair, int] = field(default_factory=dict)
    _partners: Counter[int] = field(default_factory=Counter)

    def add(self, pair: Pair, inliers: int) -> None:
        """Credit a pair to both of its images; a pair that is known already changes nothing."""
        if pair not in self.inliers and inliers >= self.min_inliers:
            self._partners.update(pair)
        self.inliers.setdefault(pair, inliers)

    def verified(self, image: int) -> bool:
        """Whether enough partners verify an image."""
        return self._partners[image] >= self.min_partners

    def hits(self) -> list[Pair]:
        """The pairs with enough inliers."""
        return [pair for pair, inliers in self.inliers.items() if inliers >= self.min_inliers]


def rounds(
    order: Sequence[int], verified_pairs: VerifiedPairs, *, max_images: int
) -> Iterator[list[int]]:
    """The images to settle next, until it is known which images of a class stay.

    The first `max_images` in order must be settled whatever comes out, then as many as fell out
    among them, and so on: no wave holds an image that turns out not to be needed.

    Args:
        order: all images of the class in seeded order.
        evidence: the caller settles each wave, and adds its pairs, before it asks for the next.
        max_images: no image counts after so many verified ones.
    """
    start = kept = 0
    while start < len(order) and kept < max_images:
        wave = list(order[start : start + max_images - kept])
        yield wave
        kept += sum(map(verified_pairs.verified, wave))
        start += len(wave)


def chunks(images: Sequence[int], pairs_of: Callable[[int], int], most: int) -> list[list[int]]:
    """Images cut into runs with at most so many pairs each, or one image."""
    cut: list[list[int]] = []
    room = 0
    for image in images:
        if not cut or pairs_of(image) > room:
            cut.append([])
            room = most
        cut[-1].append(image)
        room -= pairs_of(image)
    return cut


def verify_until_decided(
    images: Sequence[int],
    evaluate: Callable[[int, int], int],
    likely: Callable[[int], Iterable[int]],
    verified_pairs: VerifiedPairs,
    most: int | None = None,
) -> list[int]:
    """Evaluate pairs until each of some images is verified, or has met all others.

    Args:
        images: to settle.
        evaluate: inliers of a pair (i, j), i < j; called for pairs that `verified_pairs` doesn't hold.
        likely: for an image, all others, the likeliest partner first.
        evidence: what is known; the evaluated pairs are added.
        most: begin with no further image after so many pairs.

    Returns:
        The images that this left.
    """
    room = float("inf") if most is None else len(verified_pairs.inliers) + most
    for number, image in enumerate(images):
        if verified_pairs.verified(image):
            continue
        if len(verified_pairs.inliers) >= room:
            return list(images[number:])
        for partner in likely(image):
            pair = (min(image, partner), max(image, partner))
            if pair in verified_pairs.inliers:
                continue
            verified_pairs.add(pair, evaluate(*pair))
            if verified_pairs.verified(image):
                break
    return []


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
        min_inliers: inliers that verify both images of a pair.
        max_images: only the first so many verified images stay.
        min_images: the class is dropped when fewer are left.
        min_partners: an image is verified by so many partners.

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

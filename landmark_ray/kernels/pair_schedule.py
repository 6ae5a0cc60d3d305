"""Which pairs of a class are matched, and which images stay: decisions only, no features.

Lazy matching keeps exactly the images that matching every pair keeps (see `decide`), from far fewer
pairs. The reason: whether an image stays depends only on whether *enough* partners verify it, on
other evidence for it, and on how many images before it, in seeded order, stay. So an image needs no
further partner once it has enough, and a class needs no further pair once its first `max_images`
verified images in that order are known. Further pairs never change the outcome, so chunks of a
class can be decided side by side, independently of each other.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

Pair = tuple[int, int]
"""Numbers (i, j) of two images of a class, i < j."""


@dataclass
class VerifiedPairs:
    """The evaluated pairs of a class and the images that they verify.

    Attributes:
        min_inliers: A pair with at least this many inliers verifies both of its images.
        min_partners: An image is verified if at least this many partners verify it.
        inliers: Number of inliers of each evaluated pair.
    """

    min_inliers: int
    min_partners: int = 1
    inliers: dict[Pair, int] = field(default_factory=dict)
    _partners: Counter[int] = field(default_factory=Counter)

    def add(self, pair: Pair, inliers: int) -> None:
        """Count a pair for both of its images; a pair that is known already changes nothing."""
        if pair not in self.inliers and inliers >= self.min_inliers:
            self._partners.update(pair)
        self.inliers.setdefault(pair, inliers)

    def verified(self, image: int) -> bool:
        """Return whether enough partners verify an image."""
        return self._partners[image] >= self.min_partners

    def hits(self) -> list[Pair]:
        """Return the pairs with enough inliers."""
        return [pair for pair, inliers in self.inliers.items() if inliers >= self.min_inliers]


def rounds(
    order: Sequence[int], verified_pairs: VerifiedPairs, *, max_images: int
) -> Iterator[list[int]]:
    """Yield the images to decide next, until it is known which images of a class stay.

    The first `max_images` in order must be decided in any case; then as many more as were not
    verified among them, and so on. So no round holds an image that turns out not to be needed.

    Args:
        order: All images of the class in seeded order.
        verified_pairs: The caller decides the images of a round, and adds their pairs, before it
            asks for the next round.
        max_images: No further image is needed when this many are verified.
    """
    start = kept = 0
    while start < len(order) and kept < max_images:
        round_images = list(order[start : start + max_images - kept])
        yield round_images
        kept += sum(map(verified_pairs.verified, round_images))
        start += len(round_images)


def chunks(
    images: Sequence[int], pairs_of: Callable[[int], int], max_pairs: int
) -> list[list[int]]:
    """Cut images into runs of at most `max_pairs` pairs each, or of one image that has more."""
    cut: list[list[int]] = []
    room = 0
    for image in images:
        if not cut or pairs_of(image) > room:
            cut.append([])
            room = max_pairs
        cut[-1].append(image)
        room -= pairs_of(image)
    return cut


def pairs_of_parts(pairs: Mapping[Pair, int], parts: Sequence[list[int]]) -> list[dict[Pair, int]]:
    """Return, for each of some disjoint sets of images, the pairs that hold one of its images.

    These are all that `verify_until_decided` asks about when it decides the images of a part.
    """
    part_of = {image: number for number, part in enumerate(parts) for image in part}
    found: list[dict[Pair, int]] = [{} for _ in parts]
    for pair, inliers in pairs.items():
        for image in pair:
            if image in part_of:
                found[part_of[image]][pair] = inliers
    return found


def verify_until_decided(
    images: Sequence[int],
    evaluate: Callable[[int, int], int],
    partners_of: Callable[[int], Iterable[int]],
    verified_pairs: VerifiedPairs,
    max_pairs: int | None = None,
) -> list[int]:
    """Evaluate pairs until each of some images is decided: verified, or tried with all others.

    Args:
        images: The images to decide.
        evaluate: Returns the inliers of a pair (i, j), i < j. It is called for pairs that
            `verified_pairs` does not hold.
        partners_of: Returns all other images for an image, the most likely partner first.
        verified_pairs: The pairs that are known; the evaluated pairs are added.
        max_pairs: Begin with no further image after this many pairs.

    Returns:
        The images that are not decided.
    """
    room = float("inf") if max_pairs is None else len(verified_pairs.inliers) + max_pairs
    for number, image in enumerate(images):
        if verified_pairs.verified(image):
            continue
        if len(verified_pairs.inliers) >= room:
            return list(images[number:])
        for partner in partners_of(image):
            pair = (min(image, partner), max(image, partner))
            if pair in verified_pairs.inliers:
                continue
            verified_pairs.add(pair, evaluate(*pair))
            if verified_pairs.verified(image):
                break
    return []


@dataclass(frozen=True)
class Decision:
    """Whether and why an image stays, and its best partner among the evaluated pairs."""

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
    similar: Collection[str] = (),
) -> dict[str, Decision]:
    """Decide for every image of a class whether it stays.

    Args:
        order: Image ids of the class in seeded order.
        pairs: (image_a, image_b, inliers) of every evaluated pair, each once.
        min_inliers: A pair with at least this many inliers verifies both of its images.
        max_images: At most this many images stay, the first in order.
        min_images: The class is dropped if fewer images are left.
        min_partners: An image is verified if at least this many partners verify it.
        similar: Images that may stay even if they are not verified.

    Returns:
        Image id -> decision. The reason of an image that stays is `verified` or `similar`, that of
        another one `unverified`, `over_cap` (the image comes after the first `max_images`, and may
        never have been matched) or `small_class`. Of equally good partners, the one with the
        smallest id is named.
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
    stay: set[str] = set()
    for image in order:
        if len(stay) == max_images:
            reasons[image] = "over_cap"
        elif partners[image] >= min_partners:
            reasons[image] = "verified"
        else:
            reasons[image] = "similar" if image in similar else "unverified"
        if reasons[image] in ("verified", "similar"):
            stay.add(image)
    if len(stay) < min_images:
        reasons |= dict.fromkeys(stay, "small_class")
        stay = set()
    decisions = {}
    for image, reason in reasons.items():
        inliers, partner = best.get(image, (0, ""))
        decisions[image] = Decision(image in stay, reason, partner, inliers)
    return decisions

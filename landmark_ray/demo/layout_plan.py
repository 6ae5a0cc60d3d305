"""What the drawn dataset holds: its landmarks, and every file filed under them."""

from dataclasses import dataclass

import numpy as np

from landmark_ray.demo.landmarks import BUILDINGS

ODD = ("grey", "cmyk", "rgba_png", "webp", "exif_rotated", "palette_png")
CORRUPT = ("truncated", "empty", "text", "header_only", "pixel_bomb", "one_pixel")


@dataclass(frozen=True)
class Plan:
    """How much of everything a dataset of scale 1 holds.

    Attributes:
        sizes: photos of each landmark: two in the middle of every size group by default.
        small: photos of each landmark that has too few of them.
        tests: unseen views of each landmark of `sizes` among the test images.
        strangers: test images of no landmark.
        noise: training images of something else than their landmark.
        duplicates: smaller copies of training photos.
        oddities: of each of `ODD` and `CORRUPT`.
    """

    sizes: tuple[int, ...] = (
        *(8, 8, 13, 13, 18, 18, 23, 23, 28, 28, 35, 36),
        *(45, 46, 55, 56, 68, 68, 87, 88, 106, 110),
    )
    small: tuple[int, ...] = (3, 4, 5)
    tests: int = 3
    strangers: int = 60
    noise: int = 40
    duplicates: int = 20
    oddities: int = 1


FULL = Plan()


@dataclass(frozen=True)
class Shot:
    """One file to make.

    Attributes:
        split: "train" or "test".
        landmark: number of the class it is filed under; None for a test image of no landmark.
        kind: "photo", "noise", "duplicate", "small_class", "odd" or "corrupt".
        detail: which oddity, or the url of a duplicate's original.
        view: number of the view of its landmark, or of the other scene, that it shows.
    """

    split: str
    landmark: int | None
    kind: str
    view: int
    detail: str = ""

    @property
    def subject(self) -> int | None:
        """Number of the landmark it really shows, if any."""
        return None if self.kind == "noise" else self.landmark

    @property
    def url(self) -> str:
        """Where the image would come from."""
        subject = "elsewhere" if self.subject is None else f"landmark{self.subject:03d}"
        return f"demo/{subject}/{self.kind}{self.view:04d}.jpg"


@dataclass(frozen=True)
class Landmark:
    """What one class shows: a kind of `BUILDINGS` in the colours of a palette."""

    kind: str
    palette: int
    name: str
    landmark_id: int


def choose_landmarks(rng: np.random.Generator, count: int) -> list[Landmark]:
    """Invent landmarks, in no order of their kinds, all with other names and ids."""
    kinds = list(BUILDINGS)
    order = rng.permutation(count)
    ids = rng.choice(np.arange(1000, 200_000), count, replace=False)
    names: list[str] = []
    heads = ("Tor", "Mar", "Bel", "Ost", "Quin", "Vel", "Sar", "Lun", "Har", "Ed")
    tails = ("vale", "mond", "wick", "dor", "stad", "holm")
    while len(names) < count:
        place = "".join(rng.choice(heads, 1 + len(names) // 200)) + rng.choice(tails)
        kind = kinds[order[len(names)] % len(kinds)]
        name = f"{kind}_of_{place.capitalize()}"
        if name not in names:
            names.append(name)
    return [
        Landmark(kinds[number % len(kinds)], int(number), name, int(landmark_id))
        for number, name, landmark_id in zip(order, names, ids, strict=True)
    ]


def choose_shots(rng: np.random.Generator, plan: Plan, scale: int) -> list[Shot]:
    """List the files of a dataset; landmarks are numbered as their sizes are, then the small."""
    sizes = plan.sizes * scale
    shots = []
    for number, size in enumerate(sizes):
        shots += [Shot("train", number, "photo", view) for view in range(size)]
        shots += [Shot("test", number, "photo", size + view) for view in range(plan.tests)]
    for number, size in enumerate(plan.small * scale, start=len(sizes)):
        shots += [Shot("train", number, "small_class", view) for view in range(size)]

    # What is kept but planned for no size group goes to large classes, whose groups are wide.
    large = [number for number, size in enumerate(sizes) if size >= sorted(sizes)[len(sizes) // 2]]
    originals = [s for s in shots if s.split == "train" and s.landmark in large]
    for choice in rng.choice(len(originals), plan.duplicates * scale, replace=False):
        shot = originals[choice]
        shots.append(Shot("train", shot.landmark, "duplicate", shot.view, shot.url))
    largest = int(np.argmax(sizes))
    oddities = [
        (kind, detail) for kind, all_ in (("odd", ODD), ("corrupt", CORRUPT)) for detail in all_
    ]
    for view in range(len(oddities) * plan.oddities * scale):
        kind, detail = oddities[view % len(oddities)]
        shots.append(Shot("train", largest, kind, 1000 + view, detail))

    noise = rng.integers(len(sizes), size=plan.noise * scale)
    shots += [Shot("train", int(number), "noise", view) for view, number in enumerate(noise)]
    strangers = range(noise.size, noise.size + plan.strangers * scale)
    return shots + [Shot("test", None, "noise", view) for view in strangers]

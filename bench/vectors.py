"""Made-up vectors that are clustered as those of photos are, with noise.

A landmark has one to five viewpoints, each of a kind (a facade, a bay) that it shares with many
others. Their cosines are about those of MobileNetV2's whitened vectors of gld-mini and gld-scenes:
with 990 photos of 37 landmarks, the 1st, 3rd and 5th nearest photo of the own landmark have medians
of 0.61, 0.54 and 0.50 (0.67, 0.55, 0.50 there), and the nearest of another one 0.27 (0.35).
"""

import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.whitening import Whitening

EACH = 4_100_000 / 203_094
"""Photos of a landmark on average; half of the landmarks have 8 or fewer."""

KINDS, VIEWPOINTS = 40, 5
NOISE, MISFILED = 0.3, 0.25
"""Share of the photos that is noise, and of the noise that shows another landmark of the set."""

SHARES = {"kind": 0.3, "landmark": 0.2, "viewpoint": 0.1, "photo": 0.4}
"""Share of a vector's variance that comes of the kind, landmark and viewpoint, and of the photo."""

BLOCK = 1 << 16
"""Number of vectors that are made at a time."""


class Made:
    """Made-up photos.

    Attributes:
        length: of the vectors.
        shown: [N] landmark that each photo shows; -1 if none.
        filed: [N] landmark under which it is filed.
    """

    def __init__(self, photos: int, length: int) -> None:
        """Draw what photos show, and where they are filed."""
        self.length = length
        rng = np.random.default_rng(photos)
        landmarks = max(round(photos / EACH), 2)
        weight = rng.lognormal(sigma=np.sqrt(2 * np.log(EACH / 8)), size=landmarks)
        of_landmarks = round(photos * (1 - NOISE * (1 - MISFILED)))
        sizes = rng.multinomial(of_landmarks, weight / weight.sum())
        known = np.repeat(np.arange(landmarks), sizes)
        self.shown = np.concatenate([known, np.full(photos - of_landmarks, -1)])
        noise = np.arange(photos) >= of_landmarks
        noise[rng.choice(of_landmarks, round(photos * NOISE * MISFILED), replace=False)] = True
        self.filed = np.where(noise, rng.choice(known, photos), self.shown)
        first = rng.integers(VIEWPOINTS * landmarks, size=photos)
        views = rng.integers(1, VIEWPOINTS + 1, size=landmarks)
        self._viewpoint = np.where(
            self.shown >= 0, self.shown * VIEWPOINTS + first % views[self.shown], first
        )
        self._kind = rng.integers(KINDS, size=landmarks * VIEWPOINTS)
        self._kinds, self._landmarks, self._viewpoints = (
            normal(rng, count, length) for count in (KINDS, landmarks, landmarks * VIEWPOINTS)
        )

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.shown)

    def vectors(self, rows: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
        """Vectors [Q, length] of photos, as a network gives them: not centred, axes unlike."""
        rng = np.random.default_rng([seed, rows[0]])
        shown, viewpoint = self.shown[rows], self._viewpoint[rows]
        kind = np.where(shown < 0, rng.integers(KINDS, size=len(rows)), self._kind[viewpoint])
        parts = {
            "kind": self._kinds[kind],
            "landmark": self._landmarks[shown],
            "viewpoint": self._viewpoints[viewpoint],
            "photo": normal(rng, len(rows), self.length),
        }
        parts["photo"] *= rng.uniform(0.5, 1.5, size=(len(rows), 1))
        own = np.flatnonzero(shown < 0)  # these resemble nothing but their kind
        parts["landmark"][own], parts["viewpoint"][own] = (
            normal(rng, len(own), self.length) for _ in range(2)
        )
        made = sum(np.sqrt(SHARES[name]) * part.astype(np.float32) for name, part in parts.items())
        return (1 + made) * np.arange(1, self.length + 1, dtype=np.float32) ** -0.25


def normal(rng: np.random.Generator, count: int, length: int) -> NDArray[np.float16]:
    """Normal numbers [count, length]."""
    drawn = np.empty((count, length), np.float16)
    for start in range(0, count, BLOCK):
        part = drawn[start : start + BLOCK]
        part[:] = rng.standard_normal(part.shape, np.float32)
    return drawn


def whitened(photos: Made, whitening: Whitening, seed: int = 2) -> NDArray[np.float16]:
    """Make the vectors of all photos, and whiten them."""
    count = len(photos)
    vectors = np.empty((count, whitening.projection.shape[1]), np.float16)
    for start in range(0, count, BLOCK):
        rows = np.arange(start, min(start + BLOCK, count))
        vectors[rows] = whitening(photos.vectors(rows, seed))
    return vectors

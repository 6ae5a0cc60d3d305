"""One confidence from what heads and index say: is this the landmark that the photo shows?

Heads say how probable a landmark is among those of its group. The index says how similar the photo
is to the landmark's photos, to other landmarks, and to photos of no landmark. Exemplars say whether
geometry verifies the photo. A logistic regression makes a probability of these, which means the
same for every landmark.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.metrics import NO_LANDMARK
from landmark_ray.kernels.topk import TopK

STRANGERS = -2
"""Stands in an index for the landmark of all photos that show none."""

LEAST = 1e-6
"""The confidence of heads for a landmark that is not among their answers."""

PENALTY = 10.0
"""Weight of the squared coefficients in the fit: where few photos are all answered correctly, it
keeps the confidences from 0 and 1. Of 0.1, 1, 10 and 30 it gives the highest GAP of gld-mini's and
gld-scenes' validation photos, each answered by a fusion that was not fitted to it."""

KINDS = ("heads", "lead over landmarks", "lead over strangers", "inliers", "lead over the usual")
"""The kinds of evidence, in the order of `Candidates.evidence`."""

UNVERIFIED = tuple(kind for kind in KINDS if kind != "inliers")
"""The kinds of evidence without exemplars."""

INLIERS_NEEDED = 11
"""Number of inliers that verifies a pair. Chance reaches half of it, which is no evidence."""

DOUBTFUL = 0.005, 0.95
"""First confidences between which exemplars are asked. A quarter of the photos of two sets of real
photographs are there, and nearly all whose answer geometry changes."""


@dataclass(frozen=True)
class Candidates:
    """The landmarks that heads or index name for N photos, and what they say of each.

    Attributes:
        landmarks: [N, C] landmark ids; `NO_LANDMARK` where there are fewer.
        heads: [N, C] confidence of the heads, 0 to 1; NaN for landmarks that they do not know.
        nearest: [N, C] similarity to the nearest photos of the landmark, -1 to 1.
        mean: [N, C] similarity to the mean of the landmark's photos, -1 to 1.
        usual: [N, C] similarity to this mean that is usual for the landmark's own photos, 0 to 1.
        strangers: [N] similarity to the nearest photos of no landmark, -1 to 1.
        inliers: [N, C] most inliers with an exemplar of the landmark, NaN where it was not asked;
            None where no landmark was asked.
    """

    landmarks: NDArray[np.int64]
    heads: NDArray[np.float64]
    nearest: NDArray[np.float32]
    mean: NDArray[np.float32]
    usual: NDArray[np.float32]
    strangers: NDArray[np.float32]
    inliers: NDArray[np.float32] | None = None

    @property
    def known(self) -> NDArray[np.bool_]:
        """Return [N, C] where there is a candidate."""
        return np.asarray(self.landmarks != NO_LANDMARK)

    def evidence(self) -> NDArray[np.float64]:
        """Return [N, C, 5]: the log confidence of the heads, leads of the index, and log inliers.

        The lead over landmarks is that of the landmark's mean over the next one's. The lead over
        strangers is that of its nearest photos over the nearest photos of no landmark. The lead
        over the usual is below 0 where the photo is less similar to the landmark than its own
        photos are: those of some landmarks are all alike, those of others hardly. Inliers count
        beyond what chance reaches.
        """
        mean = np.where(self.known, self.mean, -1).astype(np.float64)
        ranked = np.sort(np.pad(mean, ((0, 0), (1, 0)), constant_values=-1), axis=1)
        others = np.where(mean == ranked[:, -1:], ranked[:, -2:-1], ranked[:, -1:])
        nearest = self.nearest.astype(np.float64)
        chance = INLIERS_NEEDED / 2
        inliers = np.zeros(mean.shape) if self.inliers is None else np.nan_to_num(self.inliers)
        features = (
            np.log(np.maximum(np.nan_to_num(self.heads), LEAST)),
            mean - others,
            nearest - self.strangers[:, None],
            np.log(np.maximum(inliers, chance) / chance),
            mean - self.usual,
        )
        return np.stack(features, axis=2)

    def with_inliers(self, asked: Sequence[Mapping[int, int]]) -> "Candidates":
        """Return the candidates with inliers: of each photo, landmark -> inliers."""
        inliers = np.full(self.landmarks.shape, np.nan, np.float32)
        for row, (landmarks, known) in enumerate(zip(self.landmarks.tolist(), asked, strict=True)):
            inliers[row] = [known.get(landmark, np.nan) for landmark in landmarks]
        return dataclasses.replace(self, inliers=inliers)


@dataclass(frozen=True)
class Regression:
    """A logistic regression of the evidence.

    Attributes:
        weights: Of the kinds of evidence, none below 0: more evidence never lowers a confidence.
            Older bundles have none for the last kinds.
        bias: Added to their sum.
    """

    weights: tuple[float, ...]
    bias: float

    def __call__(self, evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the confidences [...] for evidence [..., 5]."""
        return np.asarray(1 / (1 + np.exp(-self.margin(evidence))))

    def margin(self, evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log odds [...] for evidence [..., 5]."""
        return np.asarray(evidence[..., : len(self.weights)] @ np.array(self.weights) + self.bias)


@dataclass(frozen=True)
class Regressions:
    """The regressions for landmarks that heads know, and for those that only the index knows."""

    trained: Regression
    enrolled: Regression

    def __call__(self, found: Candidates) -> NDArray[np.float64]:
        """Return the confidence [N, C] of each candidate, 0 where there is none."""
        evidence = found.evidence()
        by_index = np.isnan(found.heads)
        confidences = np.where(by_index, self.enrolled(evidence), self.trained(evidence))
        return np.where(found.known, confidences, 0)


@dataclass(frozen=True)
class Fusion(Regressions):
    """Makes a confidence of the evidence.

    Attributes:
        verified: The regressions for photos that exemplars were asked about; None where there are
            no exemplars.
        doubtful: Lowest and highest of the first confidences of photos that exemplars are asked
            about.
    """

    verified: Regressions | None = None
    doubtful: tuple[float, float] = DOUBTFUL

    def confidences(self, found: Candidates) -> NDArray[np.float64]:
        """Return the confidence [N, C] of each candidate, 0 where there is none."""
        confidences = self(found)
        if self.verified is None or found.inliers is None:
            return confidences
        asked = self.is_doubtful(confidences) & ~np.isnan(found.inliers).all(axis=1)
        return np.where(asked[:, None], self.verified(found), confidences)

    def is_doubtful(self, confidences: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return for which photos exemplars should be asked, by confidences [N, C] without them."""
        first = confidences.max(axis=1, initial=0)
        low, high = self.doubtful
        return np.asarray((self.verified is not None) & (low <= first) & (first <= high))

    def top_k(self, found: Candidates, k: int) -> TopK:
        """Return the k candidates of highest confidence, filled up with `NO_LANDMARK` and 0."""
        confidences = self.confidences(found)
        order = np.lexsort((found.landmarks, -confidences, ~found.known))[:, :k]
        ids, values = (np.take_along_axis(a, order, 1) for a in (found.landmarks, confidences))
        fill = ((0, 0), (0, max(k - ids.shape[1], 0)))
        return np.pad(ids, fill, constant_values=NO_LANDMARK), np.pad(values, fill)


def for_photos(fusion: Fusion, verify: str) -> Fusion:
    """Return a fusion that asks exemplars about no photo ("off"), all ("always"), or some."""
    if verify == "doubtful":
        return fusion
    if verify == "off":
        return dataclasses.replace(fusion, verified=None)
    return dataclasses.replace(fusion, doubtful=(0.0, 1.0))


def fit_fusion(found: Candidates, right: NDArray[np.bool_]) -> Fusion:
    """Fit a fusion to candidates of photos that heads and index have not learned from.

    Args:
        found: The candidates of N photos.
        right: [N, C] whether the photo shows the candidate.
    """
    unverified = fit_regressions(found, right, UNVERIFIED)
    fusion = Fusion(unverified.trained, unverified.enrolled)
    if found.inliers is None or np.isnan(found.inliers).all():
        return fusion
    verified = fit_regressions(found, right, KINDS)
    return dataclasses.replace(fusion, verified=verified)


def fit_regressions(
    found: Candidates, right: NDArray[np.bool_], kinds: Sequence[str]
) -> Regressions:
    """Fit the regressions with and without the heads; `kinds` are the kinds of evidence.

    Landmarks that heads know are answered by the mean of a regression that trusts the heads and one
    that does not ask them. Heads flatter themselves in a fit to validation photos, which their
    training ended with: alone, the first regression answered the test photos of gld-scenes worse
    than the index did.
    """
    by_index = fit_regression(found, right, kinds[1:])
    return Regressions(mean_of(fit_regression(found, right, kinds), by_index), by_index)


def mean_of(one: Regression, other: Regression) -> Regression:
    """Return the regression whose margins are the means of those of two."""
    weights, bias = np.mean([one.weights, other.weights], axis=0), (one.bias + other.bias) / 2
    return Regression(tuple(weights.tolist()), bias)


def fit_regression(
    found: Candidates, right: NDArray[np.bool_], kinds: Sequence[str] = KINDS
) -> Regression:
    """Fit one regression; `kinds` are the kinds of evidence that count, of `KINDS`.

    One right and one wrong candidate with average evidence are added, so that the confidences stay
    between 0 and 1 if all others are right, or wrong.
    """
    from scipy.optimize import minimize  # this import takes 0.4 seconds

    counts = np.array([kind in kinds for kind in KINDS])
    x, y = found.evidence()[found.known] * counts, right[found.known].astype(np.float64)
    average = x.mean(axis=0) if len(x) else np.zeros(len(KINDS))
    x = np.concatenate([x, average[None], average[None]])
    y = np.append(y, [1.0, 0.0])
    mean, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    z = (x - mean) / spread

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, bias = parameters[:-1], parameters[-1]
        margin = z @ weights + bias
        error = 1 / (1 + np.exp(-margin)) - y
        value = np.logaddexp(0, margin).sum() - y @ margin + PENALTY / 2 * weights @ weights
        return float(value), np.append(z.T @ error + PENALTY * weights, error.sum())

    bounds = [*((0, None if count else 0) for count in counts), (None, None)]
    best = minimize(loss, np.zeros(len(bounds)), jac=True, method="L-BFGS-B", bounds=bounds).x
    weights = best[:-1] / spread
    return Regression(tuple(weights.tolist()), float(best[-1] - weights @ mean))

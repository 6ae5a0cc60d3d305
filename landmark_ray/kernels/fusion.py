"""One confidence from what heads and index say: is this the landmark that the photo shows?

Heads say how probable a landmark is among those of its group. The index says how similar the photo
is to the landmark's photos, to those of other landmarks, and to photos of no landmark. A logistic
regression makes a probability of these, which means the same for every landmark.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from landmark_ray.kernels.landmark_similarity import Similarities
from landmark_ray.kernels.metrics import NO_LANDMARK
from landmark_ray.kernels.topk import TopK

STRANGERS = -2
"""Stands in an index for the landmark of all photos that show none."""

LEAST = 1e-6
"""The confidence of heads for a landmark that is not among their answers."""

PENALTY = 1.0
"""Weight of the squared coefficients in the fit: where few photos are all answered correctly, it
keeps the confidences from 0 and 1. It counts as much as a photo or two."""


@dataclass(frozen=True)
class Candidates:
    """The landmarks that heads or index name for N photos, and the evidence for each.

    Attributes:
        landmarks: [N, C] landmark ids; `NO_LANDMARK` where there are fewer.
        heads: [N, C] confidence of the heads, 0 to 1.
        similarity: [N, C] of the photo to the landmark, -1 to 1.
        strangers: [N] similarity of the photo to photos of no landmark, -1 to 1.
    """

    landmarks: NDArray[np.int64]
    heads: NDArray[np.float64]
    similarity: NDArray[np.float32]
    strangers: NDArray[np.float32]

    def evidence(self) -> NDArray[np.float64]:
        """Return [N, C, 4]: log confidence, similarity, and its lead over others and strangers."""
        similarity = self.similarity.astype(np.float64)
        known = self.landmarks != NO_LANDMARK
        ranked = np.sort(np.where(known, similarity, -1), axis=1)
        best = ranked[:, -1:]
        second = ranked[:, -2:-1] if ranked.shape[1] > 1 else np.full_like(best, -1)
        others = np.where(similarity == best, second, best)
        features = (
            np.log(np.maximum(self.heads, LEAST)),
            similarity,
            similarity - others,
            similarity - self.strangers[:, None],
        )
        return np.stack(features, axis=2)


def candidates(heads: TopK, index: Similarities) -> Candidates:
    """Join the answers of heads and index for the same N photos."""
    ids, confidences = heads
    count = len(ids)
    width = ids.shape[1] + index.landmarks.shape[1]
    landmarks = np.full((count, width), NO_LANDMARK, np.int64)
    of_heads = np.zeros((count, width))
    similarity = np.full((count, width), -1, np.float32)
    strangers = np.array(index.floor)
    for row in range(count):
        said = dict(zip(ids[row].tolist(), confidences[row].tolist(), strict=True))
        near = dict(zip(index.landmarks[row].tolist(), index.values[row].tolist(), strict=True))
        strangers[row] = near.pop(STRANGERS, index.floor[row])
        named = [i for i in dict.fromkeys([*said, *near]) if i != NO_LANDMARK]
        landmarks[row, : len(named)] = named
        of_heads[row, : len(named)] = [said.get(i, 0.0) for i in named]
        similarity[row, : len(named)] = [near.get(i, index.floor[row]) for i in named]
    used = max(int((landmarks != NO_LANDMARK).sum(axis=1).max(initial=1)), 1)
    return Candidates(landmarks[:, :used], of_heads[:, :used], similarity[:, :used], strangers)


@dataclass(frozen=True)
class Fusion:
    """A logistic regression of the evidence.

    Attributes:
        weights: Of the four kinds of evidence, none below 0: more evidence never lowers a
            confidence.
        bias: Added to their sum.
    """

    weights: tuple[float, float, float, float]
    bias: float

    def confidences(self, evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the confidences [...] for evidence [..., 4]."""
        return np.asarray(1 / (1 + np.exp(-(evidence @ np.array(self.weights) + self.bias))))

    def top_k(self, found: Candidates, k: int) -> TopK:
        """Return the k candidates of highest confidence, filled up with `NO_LANDMARK` and 0."""
        known = found.landmarks != NO_LANDMARK
        confidences = np.where(known, self.confidences(found.evidence()), 0)
        order = np.lexsort((found.landmarks, -confidences, ~known))[:, :k]
        ids, values = (np.take_along_axis(a, order, 1) for a in (found.landmarks, confidences))
        fill = ((0, 0), (0, max(k - ids.shape[1], 0)))
        return np.pad(ids, fill, constant_values=NO_LANDMARK), np.pad(values, fill)


def fit_fusion(
    found: Candidates, right: NDArray[np.bool_], kinds: Sequence[int] = (0, 1, 2, 3)
) -> Fusion:
    """Fit the regression to candidates of photos that heads and index have not learned from.

    Args:
        found: The candidates of N photos.
        right: [N, C] whether the photo shows the candidate.
        kinds: The kinds of evidence that count; the weights of the others are 0.

    Raises:
        ValueError: There is no candidate.
    """
    known = found.landmarks != NO_LANDMARK
    x, y = found.evidence()[known], right[known].astype(np.float64)
    if not len(x):
        raise ValueError("no candidates to fit the fusion to")
    mean, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    z = (x - mean) / spread

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, bias = parameters[:-1], parameters[-1]
        margin = z @ weights + bias
        error = 1 / (1 + np.exp(-margin)) - y
        value = np.logaddexp(0, margin).sum() - y @ margin + PENALTY / 2 * weights @ weights
        return float(value), np.append(z.T @ error + PENALTY * weights, error.sum())

    bounds = [(0, None if kind in kinds else 0) for kind in range(x.shape[1])] + [(None, None)]
    found_at = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    weights = found_at.x[:-1] / spread
    a, b, c, d = weights.tolist()
    return Fusion((a, b, c, d), float(found_at.x[-1] - weights @ mean))

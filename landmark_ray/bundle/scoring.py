"""Score photos: what heads, index and the reference's rule answer, as rows of `predictions`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.bundle.ensemble import Ensemble
from landmark_ray.bundle.network_files import CLOSED
from landmark_ray.bundle.witnesses import Witnesses
from landmark_ray.data import schemas
from landmark_ray.data.examples import pixels
from landmark_ray.data.store import Store
from landmark_ray.kernels.contentless import without_contentless
from landmark_ray.kernels.exemplars import LEADING
from landmark_ray.kernels.features import ImageFeatures
from landmark_ray.kernels.image import Limits
from landmark_ray.kernels.metrics import NO_LANDMARK


class Scorer:
    """All that answers for a photo and, for comparison, the closed-set models of the reference."""

    def __init__(self, folder: Store, subfolder: str, k: int, threads: int | None = None) -> None:
        """Load all of them; rows hold the k best answers of the heads.

        `threads` compute the local features of a photo; the runtime chooses it when None.
        """
        self.witnesses = Witnesses(folder, subfolder, threads=threads)
        self.closed_set = Ensemble(folder, CLOSED)
        self.k = k
        index = self.witnesses.index
        self._clusters = copies_of(index.photos) if index else {}

    @property
    def size(self) -> int:
        """Width and height of the photos that the networks take, in pixels."""
        return self.witnesses.ensemble.size

    def features(self, files: Sequence[bytes], limits: Limits) -> list[ImageFeatures | None]:
        """Compute the local features of photos, if there are exemplars."""
        exemplars = self.witnesses.exemplars
        return [exemplars.features_of(file, limits) if exemplars else None for file in files]

    def rows(
        self,
        image_ids: list[str],
        squares: NDArray[np.uint8],
        truth: Mapping[str, Iterable[int]],
        labels: Iterable[int],
        groups: Iterable[int],
        features: Sequence[ImageFeatures | None],
        *,
        indexed: bool = False,
    ) -> pa.Table:
        """Make rows of `predictions` for photos.

        Args:
            image_ids: [N].
            squares: [N, size, size, 3] RGB.
            truth: image_id -> the landmarks that it shows.
            labels: [N] landmark that the photo is filed under; -1 if there is none.
            groups: [N] group of this landmark; 0 if there is none.
            features: [N] local features of each photo, for the exemplars; None where there are
                none.
            indexed: Whether the photos may be in the index: then their duplicates do not count.
        """
        vectors = self.witnesses.vectors(squares)
        if missing := set(self.closed_set.trunks) - set(vectors):
            vectors |= self.closed_set.vectors(squares, sorted(missing))
        answer = self.witnesses.ensemble.answer(vectors, self.k)
        landmarks, confidences = without_contentless(answer, squares)
        without = [self._clusters.get(i, i) for i in image_ids] if indexed else None
        found = self.witnesses.candidates(vectors, without)
        if exemplars := self.witnesses.exemplars:  # strangers lack a landmark: the next one leads
            found = exemplars.verified(found, features, without, LEADING + 1)
        inliers = np.full(found.landmarks.shape, np.nan) if found.inliers is None else found.inliers
        closed_landmarks, closed_confidences = self.closed_set.answer(vectors, 1)
        columns = {
            "image_id": image_ids,
            "truth": [sorted(truth[i]) for i in image_ids],
            "label": labels,
            "group": groups,
            "landmarks": known(landmarks, landmarks),
            "confidences": known(confidences, landmarks),
            "candidates": known(found.landmarks, found.landmarks),
            "heads": known(found.heads, found.landmarks),
            "nearest": known(found.nearest, found.landmarks),
            "mean": known(found.mean, found.landmarks),
            "usual": known(found.usual, found.landmarks),
            "strangers": found.strangers,
            "inliers": known(inliers, found.landmarks),
            "closed_landmark": closed_landmarks[:, 0],
            "closed_confidence": closed_confidences[:, 0].astype(np.float32),
        }
        return pa.table(
            {n: pa.array(v, schemas.PREDICTIONS.field(n).type) for n, v in columns.items()},
            schema=schemas.PREDICTIONS,
        )


def copies_of(photos: pa.Table) -> dict[str, str]:
    """Return the duplicates among photos of an index: image_id -> the photo that stands for it.

    Only these become objects of Python, which take 200 bytes a photo in every worker.
    """
    copies = photos.filter(pc.not_equal(photos["image_id"], photos["cluster"]))
    ids, clusters = (copies[name].to_pylist() for name in ("image_id", "cluster"))
    return dict(zip(ids, clusters, strict=True))


def known(values: NDArray[Any], landmarks: NDArray[np.int64]) -> list[list[float]]:
    """Return the values [N, C] of landmarks [N, C] as lists, without the padding of each row."""
    pairs = zip(values, landmarks, strict=True)
    return [row[named != NO_LANDMARK].tolist() for row, named in pairs]


def score_examples(
    examples: pa.Table, scorer: Scorer, features: Mapping[str, ImageFeatures]
) -> pa.Table:
    """Make rows of `predictions` for rows of `examples`; images of group 0 show no landmark.

    Args:
        examples: The rows.
        scorer: What answers.
        features: image_id -> local features, for the exemplars.
    """
    if not examples.num_rows:
        return schemas.PREDICTIONS.empty_table()
    ids, labels, groups = (
        examples[name].to_pylist() for name in ("image_id", "landmark_id", "group")
    )
    truth = {i: {label} if g else () for i, label, g in zip(ids, labels, groups, strict=True)}
    squares = np.stack([pixels(jpeg, scorer.size) for jpeg in examples["jpeg"].to_pylist()])
    own = [features.get(i) for i in ids]
    return scorer.rows(ids, squares, truth, labels, groups, own, indexed=True)

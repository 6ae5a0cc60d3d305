"""An index of photos: which of them are nearest to a query, by cosine.

Up to `EXACT_UP_TO` photos a query is compared with all. A larger index is an inverted file: k-means
divides the vectors into lists, and a query is compared with those of the lists whose centres are
nearest. The search is that of faiss; the vectors are kept as plain arrays, since a file of faiss
would have to be trusted.
"""

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

EXACT_UP_TO = 50_000
"""The largest number of vectors that a query is compared with one by one. Of 60,000 to 190,000 of
128 numbers, lists find 0.997 to 0.999 of the 10 nearest in a quarter to a ninth of the time."""

PROBES = 128
"""Number of lists that a query is compared with; `bench/index.py` measures the recall."""

_VECTORS_PER_CENTRE = 64
"""Number of vectors that k-means learns a centre from."""

_BLOCK = 1 << 16
"""Number of vectors that are converted to float32 at a time."""


@dataclass(frozen=True)
class IndexArrays:
    """What an index is made of.

    Attributes:
        vectors: [N, d] of unit length.
        lists: [N] number of the list of each vector; all 0 if there is only one.
        centres: [L, d] of the lists; empty if there is only one.
    """

    vectors: NDArray[np.float16]
    lists: NDArray[np.int32]
    centres: NDArray[np.float32]


def divide(vectors: NDArray[np.float16], exact_up_to: int = EXACT_UP_TO) -> IndexArrays:
    """Divide vectors [N, d] of unit length into lists; a small set needs none."""
    count, length = vectors.shape
    if count <= exact_up_to:
        none = np.zeros((0, length), np.float32)
        return IndexArrays(vectors, np.zeros(count, np.int32), none)
    lists = 1 << round(np.log2(4 * np.sqrt(count)))
    step = max(1, count // (lists * _VECTORS_PER_CENTRE))
    kmeans = faiss.Kmeans(
        length, lists, spherical=True, niter=10, seed=1, max_points_per_centroid=10**6
    )
    kmeans.train(np.ascontiguousarray(vectors[::step], np.float32))
    own = np.empty(count, np.int32)
    for start in range(0, count, _BLOCK):
        block = vectors[start : start + _BLOCK].astype(np.float32)
        own[start : start + _BLOCK] = kmeans.index.search(block, 1)[1][:, 0]
    return IndexArrays(vectors, own, np.asarray(kmeans.centroids))


def nearest_lists(vectors: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the number [N] of the list whose centre is nearest to each vector [N, d]."""
    if not len(centres):
        return np.zeros(len(vectors), np.int32)
    return np.asarray((vectors @ centres.T).argmax(axis=1), np.int32)


class PhotoIndex:
    """Finds the nearest vectors of a set."""

    def __init__(self, arrays: IndexArrays, probes: int = PROBES) -> None:
        """Build the index, in seconds for a million vectors."""
        length = arrays.vectors.shape[1]
        kind, metric = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        if len(arrays.centres):
            self._centres = faiss.IndexFlatIP(length)
            self._centres.add(arrays.centres)
            self._index: Any = faiss.IndexIVFScalarQuantizer(
                self._centres, length, len(arrays.centres), kind, metric, False
            )
            self._index.is_trained = True
            self._index.nprobe = probes
        else:
            self._index = faiss.IndexScalarQuantizer(length, kind, metric)
        for start in range(0, len(arrays.vectors), _BLOCK):
            end = start + _BLOCK
            block = arrays.vectors[start:end].astype(np.float32)
            if len(arrays.centres):
                lists = arrays.lists[start:end].astype(np.int64)
                self._index.add_core(len(block), faiss.swig_ptr(block), None, faiss.swig_ptr(lists))
            else:
                self._index.add(block)

    def __len__(self) -> int:
        """Return the number of vectors."""
        return int(self._index.ntotal)

    def search(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the nearest vectors of queries.

        Args:
            queries: [Q, d] of unit length.
            k: Number of neighbours.

        Returns:
            Cosines [Q, k], falling, and rows [Q, k]; row -1 and cosine -1 where there are fewer.

        Raises:
            ValueError: The queries have another shape, or a value is not finite.
        """
        if queries.ndim != 2 or queries.shape[1] != self._index.d:
            raise ValueError(f"queries [Q, {self._index.d}] needed, got {list(queries.shape)}")
        if not np.isfinite(queries).all():
            raise ValueError("queries must be finite numbers, got NaN or infinity")
        cosines, rows = self._index.search(np.ascontiguousarray(queries, np.float32), k)
        return np.where(rows < 0, -1, cosines).astype(np.float32), rows

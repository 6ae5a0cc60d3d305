"""Nearest neighbours by cosine: exact up to a million vectors, from an inverted file above."""

import faiss
import numpy as np
from numpy.typing import NDArray

EXACT_UP_TO = 1_000_000
"""Vectors that each query is compared with; of more an inverted file selects a part."""

LISTS_PROBED = 64
"""Lists of the inverted file that a query visits. `bench/index.py` measures the recall."""

_TRAINING_VECTORS = 64
"""Vectors a list that the k-means of the inverted file learns from."""


def build_index(vectors: NDArray[np.float32], exact_up_to: int = EXACT_UP_TO) -> faiss.Index:
    """Build an index of vectors, stored in 16 bits.

    Args:
        vectors: [N, d] float32 of unit length.
        exact_up_to: See `EXACT_UP_TO`.

    Returns:
        An index whose rows are those of `vectors`.
    """
    count, length = vectors.shape
    if count <= exact_up_to:
        index = faiss.IndexScalarQuantizer(
            length, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
    else:
        lists = 1 << round(np.log2(4 * np.sqrt(count)))
        index = faiss.index_factory(length, f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
        index.nprobe = LISTS_PROBED
        step = max(1, count // (lists * _TRAINING_VECTORS))
        index.train(vectors[::step])
    index.add(vectors)
    return index


def nearest(
    index: faiss.Index, queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the nearest vectors of an index.

    Args:
        index: From `build_index`.
        queries: [Q, d] float32 of unit length.
        k: The number of neighbours.

    Returns:
        Cosines [Q, k] in falling order, and rows of the index [Q, k]; row -1 where there are fewer.
    """
    cosines, rows = index.search(np.ascontiguousarray(queries, np.float32), k)
    return cosines, rows

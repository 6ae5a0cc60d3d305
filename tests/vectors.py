"""Stored vectors as the tests compare them."""

from pathlib import Path

import numpy as np
import pandas as pd

from tests.tables import rows


def assert_same_vectors(a: Path, b: Path) -> None:
    """Row for row, vectors within the rounding of 16 bits.

    A processor may add up the products of a layer in another order if other calls are busy at the
    same time, or if it has other cores.
    """
    one, other = rows(a, "descriptors"), rows(b, "descriptors")
    pd.testing.assert_frame_equal(one.drop(columns="vector"), other.drop(columns="vector"))
    found, wanted = (
        np.stack([np.frombuffer(data, np.float16) for data in frame.vector]).astype(np.float32)
        for frame in (one, other)
    )
    np.testing.assert_allclose(found, wanted, rtol=2**-9, atol=2**-14)

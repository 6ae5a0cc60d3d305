"""Vectors as the tests compare them: alike within rounding.

A processor may add up the same products in another order if it has other cores, or is busy.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from tests.tables import TABLES, assert_same_tables, rows


def assert_same_outputs(found, wanted) -> None:
    """What two networks of the same weights answer, within the rounding of 32 bits."""
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def assert_same_descriptors(a: Path, b: Path) -> None:
    """Row for row, vectors within the rounding of 16 bits."""
    one, other = rows(a, "descriptors"), rows(b, "descriptors")
    pd.testing.assert_frame_equal(one.drop(columns="vector"), other.drop(columns="vector"))
    found, wanted = (
        np.frombuffer(b"".join(frame.vector), np.float16).astype(np.float32)
        for frame in (one, other)
    )
    np.testing.assert_allclose(found, wanted, rtol=2**-9, atol=2**-14)


def assert_same_described(a: Path, b: Path) -> None:
    """All tables row for row, and descriptors within rounding."""
    assert_same_tables(a, b, [table for table in TABLES if table != "descriptors"])
    assert_same_descriptors(a, b)

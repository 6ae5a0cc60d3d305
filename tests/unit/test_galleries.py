"""What the curation page is given to show."""

import numpy as np
import pyarrow as pa

from landmark_ray.data.root import Root
from landmark_ray.reports.galleries import Decisions


def test_ids_are_texts_as_numbers_of_javascript_are_not_exact(tmp_path):
    root, large = Root(str(tmp_path)), 473_498_273_984_729_384
    names = {"landmark_id": [7, large], "name": ["a", "b"], "images": [3, 2], "chosen": [3, 2]}
    root.write_table("landmarks/part.parquet", pa.table(names))
    decisions = object.__new__(Decisions)
    decisions.landmarks = np.array([7, 7, large])
    decisions.keep = np.array([True, False, True])
    decisions.reasons = np.array(["", "unverified", ""])
    classes = decisions.classes(root)
    assert classes["id"] == ["7", str(large)]
    assert (classes["usable"], classes["kept"], classes["unverified"]) == ([2, 1], [1, 1], [1, 0])

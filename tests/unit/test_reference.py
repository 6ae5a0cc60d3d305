"""The reference of a bundle, by which what serves is compared with what was trained."""

import numpy as np
import pytest

from landmark_ray.bundle.reference import Disagreement, Reference, difference
from tests import bundles


def test_difference_is_the_largest_of_all_parts_and_nan_is_far_off():
    wanted = np.array([[0.0, 4.0], [1.0, -4.0]], np.float32)
    near = difference(3, [wanted[:1] + np.float32(0.5), wanted[1:]], wanted)
    assert (near.group, near.largest, near.span, near.share) == (3, 0.5, 8.0, 0.0625)
    bad = wanted.copy()
    bad[1, 1] = np.nan
    for parts in ([bad], [None], [wanted[:, :1]]):
        assert difference(3, parts, wanted).share == np.inf
    assert difference(3, [wanted], None).share == np.inf
    assert difference(3, [0 * wanted], 0 * wanted).share == 0


def test_reference_asks_for_one_photo_and_for_a_batch(tmp_path):
    photos, asked = bundles.clouds(5), []
    reference = Reference(photos, {1: np.ones((5, 2), np.float32), 2: np.eye(5, dtype=np.float32)})

    def network(batch):
        asked.append(len(batch))
        at = [int(np.flatnonzero((photos == p).all((1, 2, 3)))[0]) for p in batch]
        return {g: logits[at] for g, logits in reference.logits.items()}

    reference.check(network, [1, 2], 0.0)
    assert asked == [1, 4]
    with pytest.raises(Disagreement, match="group 7"):
        reference.check(network, [1, 7], 0.5)

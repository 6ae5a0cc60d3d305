import csv
import io
import itertools
import json

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from landmark_ray.data.root import Root
from landmark_ray.data.schemas import PAIRS
from landmark_ray.kernels.pair_schedule import decide
from landmark_ray.reports.threshold_sweep import Sweep, best_counts, draw, kept_counts, store

THRESHOLDS, PARTNERS = (8, 11, 12, 15), (1, 2, 4)


def table(rows):
    names = ("landmark_id", "image_a", "image_b", "inliers")
    schema = pa.schema([PAIRS.field(name) for name in names])
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema)


@st.composite
def shards(draw):
    """Inliers of every pair of some classes, which may share image ids."""
    counts = st.sampled_from([0, 0, 7, 8, 10, 11, 12, 15, 40])
    return [
        (landmark, names, [(a, b, draw(counts)) for a, b in itertools.combinations(names, 2)])
        for landmark in draw(st.lists(st.integers(-5, 5), unique=True, max_size=3))
        for names in [[f"{i:02d}" for i in range(draw(st.integers(1, 9)))]]
    ]


@settings(max_examples=200, deadline=None)
@given(shards(), st.integers(1, 10), st.integers(1, 6))
def test_every_cell_counts_what_decide_keeps(shard, max_images, min_images):
    caps = {"max_images": max_images, "min_images": min_images}
    pairs = table([(landmark, *pair) for landmark, _, found in shard for pair in found])
    images, classes = kept_counts(pairs, min_inliers=THRESHOLDS, min_partners=PARTNERS, **caps)
    assert images.shape == classes.shape == (len(THRESHOLDS), len(PARTNERS))
    for i, j in np.ndindex(images.shape):
        kept = [
            sum(
                decision.keep
                for decision in decide(
                    names, found, min_inliers=THRESHOLDS[i], min_partners=PARTNERS[j], **caps
                ).values()
            )
            for _, names, found in shard
        ]
        assert images[i, j] == sum(kept)
        assert classes[i, j] == sum(n > 0 for n in kept)


def test_best_counts_are_those_of_each_image_of_each_class():
    pairs = table([(1, "a", "b", 5), (1, "a", "c", 9), (1, "b", "c", 7), (2, "a", "b", 3)])
    landmarks, best = best_counts(pairs, 3)
    assert landmarks.tolist() == [1, 1, 1, 2, 2]
    assert best.tolist() == [[9, 5, 0], [7, 5, 0], [9, 7, 0], [3, 0, 0], [3, 0, 0]]


def test_pairs_in_many_chunks_count_as_in_one():
    rows = [(i % 3, f"{i % 7:02d}", f"{i % 7 + 1 + i % 5:02d}", i % 19) for i in range(100)]
    chunks = pa.concat_tables([table(rows[i : i + 9]) for i in range(0, 100, 9)])
    rule = {"min_inliers": (3, 9), "min_partners": (1, 2), "max_images": 4, "min_images": 2}
    whole, parts = kept_counts(table(rows), **rule), kept_counts(chunks, **rule)
    assert np.array_equal(whole, parts)


def sweep(thresholds=(11, 12), partners=(1, 2)) -> Sweep:
    images = np.arange(len(thresholds) * len(partners)).reshape(len(thresholds), -1)[::-1] * 1000
    own = (thresholds[0], 1)
    return Sweep(thresholds, partners, images, images // 50, (9000, 90), own, 100, 6)


def test_stored_tables_have_a_row_for_each_cell_and_mark_the_runs_own(tmp_path):
    store(sweep(), Root(str(tmp_path)))
    value = json.loads((tmp_path / "reports/sweep.json").read_text())
    assert [value[k] for k in ("images", "classes", "prune.max_images")] == [9000, 90, 100]
    own = [cell for cell in value["cells"] if cell["own"]]
    assert own == [
        {"min_inliers": 11, "min_partners": 1, "images": 2000, "classes": 40, "own": True}
    ]
    rows = list(csv.DictReader((tmp_path / "reports/sweep.csv").open()))
    assert [(r["min_inliers"], r["min_partners"], r["images"], r["own"]) for r in rows] == [
        ("11", "1", "2000", "1"),
        ("11", "2", "3000", "0"),
        ("12", "1", "0", "0"),
        ("12", "2", "1000", "0"),
    ]


def test_picture_is_drawn_for_one_cell_for_many_and_for_nothing_kept():
    for one in (sweep((11,), (1,)), sweep(tuple(range(5, 60)), (1, 2, 3, 4, 5, 6))):
        assert Image.open(io.BytesIO(draw(one))).width > 800
    none = np.zeros((1, 1), np.int64)
    assert draw(Sweep((11,), (1,), none, none, (0, 0), (11, 1), 100, 6))

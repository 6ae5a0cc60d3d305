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
from landmark_ray.data.schemas import KEPT, PAIRS
from landmark_ray.kernels.pair_schedule import decide
from landmark_ray.reports.threshold_sweep import Sweep, best_counts, draw, kept_counts, show, store

THRESHOLDS, PARTNERS, AGREEMENT = (8, 11, 12, 15), (1, 2, 4), (0, 0.5, 1)


def table(rows):
    names = ("landmark_id", "image_a", "image_b", "inliers")
    schema = pa.schema([PAIRS.field(name) for name in names])
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema)


def image_table(rows):
    fields = [KEPT.field(name) for name in ("landmark_id", "image_id", "agreement")]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    return pa.table(columns, pa.schema(fields))


@st.composite
def shards(draw):
    """Of some classes, which may share image ids: agreement of each image, inliers of each pair."""
    counts = st.sampled_from([0, 0, 7, 8, 10, 11, 12, 15, 40])
    return [
        (
            landmark,
            {name: draw(st.sampled_from([None, 0.0, 0.5, 0.75, 1.0])) for name in names},
            [(a, b, draw(counts)) for a, b in itertools.combinations(names, 2)],
        )
        for landmark in draw(st.lists(st.integers(-5, 5), unique=True, max_size=3))
        for names in [[f"{i:02d}" for i in range(draw(st.integers(1, 9)))]]
    ]


@settings(max_examples=200, deadline=None)
@given(shards(), st.integers(1, 10), st.integers(1, 6))
def test_every_cell_counts_what_decide_keeps(shard, max_images, min_images):
    caps = {"max_images": max_images, "min_images": min_images}
    pairs = table([(landmark, *pair) for landmark, _, found in shard for pair in found])
    rows = image_table([(landmark, *i) for landmark, names, _ in shard for i in names.items()])
    thresholds = {"min_inliers": THRESHOLDS, "min_partners": PARTNERS, "agreement": AGREEMENT}
    images, classes = kept_counts(rows, pairs, **thresholds, **caps)
    assert images.shape == classes.shape == (len(THRESHOLDS), len(PARTNERS), len(AGREEMENT))
    for i, j, k in np.ndindex(images.shape):
        least = AGREEMENT[k]
        kept = [
            sum(
                decision.keep
                for decision in decide(
                    list(names),
                    found,
                    min_inliers=THRESHOLDS[i],
                    min_partners=PARTNERS[j],
                    similar=[n for n, share in names.items() if least and (share or 0) >= least],
                    **caps,
                ).values()
            )
            for _, names, found in shard
        ]
        assert images[i, j, k] == sum(kept)
        assert classes[i, j, k] == sum(n > 0 for n in kept)


def test_best_counts_are_those_of_each_image_of_each_class():
    pairs = table([(1, "a", "b", 5), (1, "a", "c", 9), (1, "b", "c", 7), (2, "a", "b", 3)])
    images = image_table([(1, name, None) for name in "cbad"] + [(2, "a", None), (2, "b", None)])
    assert best_counts(images, pairs, 3).tolist() == [
        [9, 7, 0],
        [7, 5, 0],
        [9, 5, 0],
        [0, 0, 0],
        [3, 0, 0],
        [3, 0, 0],
    ]


def test_pairs_in_many_chunks_count_as_in_one():
    rows = [(i % 3, f"{i % 7:02d}", f"{i % 7 + 1 + i % 5:02d}", i % 19) for i in range(100)]
    chunks = pa.concat_tables([table(rows[i : i + 9]) for i in range(0, 100, 9)])
    images = image_table([(i, f"{n:02d}", None) for i in range(3) for n in range(12)])
    rule = {"min_inliers": (3, 9), "min_partners": (1, 2), "agreement": (0,)}
    rule |= {"max_images": 4, "min_images": 2}
    whole, parts = (kept_counts(images, pairs, **rule) for pairs in (table(rows), chunks))
    assert np.array_equal(whole, parts)


def sweep(thresholds=(11, 12), partners=(1, 2), agreement=(0.0,)) -> Sweep:
    shape = (len(thresholds), len(partners), len(agreement))
    images = np.arange(np.prod(shape)).reshape(shape)[::-1] * 1000
    own = (thresholds[0], 1, agreement[-1])
    return Sweep(thresholds, partners, agreement, images, images // 50, (9000, 90), own, 100, 6)


def test_stored_tables_have_a_row_for_each_cell_and_mark_the_runs_own(tmp_path):
    store(sweep(), Root(str(tmp_path)))
    value = json.loads((tmp_path / "reports/sweep.json").read_text())
    assert [value[k] for k in ("images", "classes", "prune.max_images")] == [9000, 90, 100]
    own = [cell for cell in value["cells"] if cell["own"]]
    assert own == [
        {
            "min_inliers": 11,
            "min_partners": 1,
            "agreement": 0.0,
            "images": 2000,
            "classes": 40,
            "own": True,
        }
    ]
    rows = list(csv.DictReader((tmp_path / "reports/sweep.csv").open()))
    assert [(r["min_inliers"], r["min_partners"], r["images"], r["own"]) for r in rows] == [
        ("11", "1", "2000", "1"),
        ("11", "2", "3000", "0"),
        ("12", "1", "0", "0"),
        ("12", "2", "1000", "0"),
    ]


def test_picture_is_drawn_for_one_cell_for_many_and_for_nothing_kept():
    many = sweep(tuple(range(5, 60)), (1, 2, 3, 4, 5, 6))
    both = sweep((11, 12), (1, 2), (0.0, 0.6, 1.0))
    heights = [Image.open(io.BytesIO(draw(one))).height for one in (sweep((11,), (1,)), many, both)]
    assert heights[2] == heights[1] + heights[0] > 800
    none = np.zeros((1, 1, 1), np.int64)
    assert draw(Sweep((11,), (1,), (0.0,), none, none, (0, 0), (11, 1, 0.0), 100, 6))


def test_cells_are_shown_by_partners_and_by_agreement(capsys):
    show(sweep((11, 12), (1, 2), (0.0, 0.6, 1.0)))
    text = capsys.readouterr().out
    assert "geometry alone" in text and "agreement 0.6" in text
    assert text.count("*8,000") == 2  # the run's own cell is in both tables
    show(sweep())
    assert "agreement" not in capsys.readouterr().out

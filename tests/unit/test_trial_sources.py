"""The small sources of trial runs, and the options that a trial runs with."""

import numpy as np
import pytest

from landmark_ray.cost.job import CostConfig
from landmark_ray.cost.trial import Sample, draw_samples, scaled_down
from landmark_ray.cost.workload import read_workload
from landmark_ray.data.sources import Source
from landmark_ray.data.verdicts import read_verdicts
from tests import drawn


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan") / "source"
    drawn.draw(folder)
    source = Source(str(folder))
    return source, *read_workload(CostConfig(sample={"buckets": 3}), source, None)


def test_workload_is_that_of_train_csv_with_strangers(small):
    _, data, catalog = small
    assert data.images == catalog.num_rows == data.sizes.sum()
    assert (data.listed, len(data.sizes), len(data.archives)) == (74, 6, 4)
    assert dict(zip(data.landmarks, data.sizes, strict=True)) == dict(
        catalog["landmark_id"].to_pandas().value_counts()
    )


def samples(small, folder, whole):
    """The photos of two samples, of 16 and 40; each file is one of the source's."""
    source, _, catalog = small
    given = {m.data for archive in source.archives() for m in archive.members(1e9)}
    found = draw_samples(source, catalog, folder, (16, 40), whole, 0)
    tables = []
    for sample, most in zip(found, (16, 40), strict=True):
        drawn_source = Source(str(sample.folder))
        rows = drawn_source.index()[0].to_pandas()
        photos = [m for archive in drawn_source.archives() for m in archive.members(1e9)]
        assert {m.image_id for m in photos} == set(rows.image_id)
        assert len(photos) == len(rows) == sample.photos <= most and sample.photos > 0
        assert {m.data for m in photos} <= given and sample.whole == whole
        tables.append(rows.landmark_id.value_counts())
    assert set(tables[0].items()) <= set(tables[1].items())
    return tables[1]


def test_whole_landmarks_are_copied_where_all_can_be_read(small, tmp_path):
    counts = samples(small, tmp_path, whole=True)
    _, _, catalog = small
    assert dict(counts).items() <= dict(catalog.to_pandas().landmark_id.value_counts()).items()


def test_else_photos_are_filed_under_landmarks_of_like_sizes(small, tmp_path):
    counts = samples(small, tmp_path, whole=False)
    _, data, _ = small
    assert {*counts} <= {*data.sizes.tolist()}


def test_class_folders_are_sampled_too(tmp_path):
    for i in range(8):
        path = tmp_path / f"source/{'ab'[i % 2]}/{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn.jpeg(np.full((40, 40, 3), i * 20, np.uint8)))
    source = Source(str(tmp_path / "source"))
    _, catalog = read_workload(CostConfig(sample={"min_images": 1}), source, None)
    (tmp_path / "out").mkdir()
    (sample,) = draw_samples(source, catalog, tmp_path / "out", [5], True, 0)
    assert sample.photos == 4


def test_trial_has_the_same_options_but_small(tmp_path):
    config = CostConfig(
        root="r", train={"epochs": 9, "network": "vgg16"}, export={"to": "b"}, sample={"buckets": 8}
    )
    sample = Sample(tmp_path / "s", 50, True, 0.0)
    small = scaled_down(config, sample, 100)
    assert (small.source, small.root) == (str(tmp_path / "s"), str(tmp_path / "s-root"))
    assert (small.sample.buckets, small.train.epochs, small.export.to) == (4, 2, "")
    assert small.extract == config.extract.model_copy(update={"max_rejected": 1.0})


def test_unrelated_photos_are_all_kept(small, tmp_path):
    source, _, catalog = small
    (sample,) = draw_samples(source, catalog, tmp_path, [40], False, 0)
    verdicts = read_verdicts(scaled_down(CostConfig(), sample, 80).clean.verdicts)
    rows = Source(str(sample.folder)).index()[0]
    assert {name: verdict.kind for name, verdict in verdicts.images.items()} == dict.fromkeys(
        rows["image_id"].to_pylist(), "keep"
    )

"""DELF's stand-in through the whole path: pool of workers, tables, matching, clear errors."""

import pytest

from landmark_ray.data.schemas import feature_arrays
from tests.tables import rows

pytestmark = [pytest.mark.shared, pytest.mark.ray]


@pytest.fixture
def options(shared, gld_mini):
    delf = ("--extract.extractor", "delf", "--extract.handle", shared / "models/delf_standin")
    few = ("--sample.min_images", 60, "--sample.max_images", 12)
    return ("--source", gld_mini, *delf, *few)


def test_delf_runs_in_a_pool_and_its_matches_verify_photos(options, run_job, tmp_path):
    done = run_job("pipeline", "--root", tmp_path, "--to", "prune", *options)
    assert done.returncode == 0, done.stderr
    features, images = rows(tmp_path, "features"), rows(tmp_path, "images")
    assert features.image_id.tolist() == images.image_id.tolist()
    row = features.iloc[0]
    points, descriptors = feature_arrays(row["count"], row.keypoints, row.descriptors)
    assert descriptors.shape == (row["count"], 40) and 0 < row["count"] <= 1000
    assert (points >= 0).all() and (points < [row.width, row.height]).all()
    assert rows(tmp_path, "kept").keep.mean() > 0.5


def test_handle_that_cannot_be_loaded_is_one_line(options, run_job, tmp_path):
    bad = ("--extract.handle", tmp_path / "nothing")
    done = run_job("pipeline", "--root", tmp_path / "root", "--to", "extract", *options, *bad)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: --extract.handle: ") and str(tmp_path / "nothing") in line
    assert "SavedModel folder" in line

"""DELF's stand-in through the whole path: pool of workers, tables, matching, clear errors."""

import shutil

import pytest

from landmark_ray.data.lookup import feature_arrays
from tests.tables import rows

pytestmark = [pytest.mark.shared, pytest.mark.ray]


@pytest.fixture(scope="module")
def options(shared, gld_mini):
    delf = ("--extract.extractor", "delf", "--extract.handle", shared / "models/delf_standin")
    few = ("--sample.min_images", 60, "--sample.max_images", 12)
    return ("--source", gld_mini, *delf, *few, "--train.weights", "none")


@pytest.fixture(scope="module")
def root(options, run_job, tmp_path_factory):
    """The tables up to those of the kept images."""
    out = tmp_path_factory.mktemp("delf") / "root"
    done = run_job("pipeline", "--root", out, "--to", "prune", *options)
    assert done.returncode == 0, done.stderr
    return out


def test_delf_runs_in_a_pool_and_its_matches_verify_photos(root):
    features, images = rows(root, "features"), rows(root, "images")
    assert features.image_id.tolist() == images.image_id.tolist()
    row = features.iloc[0]
    points, descriptors = feature_arrays(row["count"], row.keypoints, row.descriptors)
    assert descriptors.shape == (row["count"], 40) and 0 < row["count"] <= 1000
    assert (points >= 0).all() and (points < [row.width, row.height]).all()
    assert rows(root, "kept").keep.mean() > 0.5


def test_handle_that_cannot_be_loaded_is_one_line(root, options, run_job, tmp_path):
    again = shutil.copytree(root, tmp_path / "root")
    bad = ("--extract.handle", tmp_path / "nothing", "--redo", "extract", "--to", "extract")
    done = run_job("pipeline", "--root", again, *options, *bad)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: --extract.handle: ") and str(tmp_path / "nothing") in line
    assert "SavedModel folder" in line

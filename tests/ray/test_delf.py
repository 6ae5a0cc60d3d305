"""Extractors with a model through the whole path: pool of workers, tables, matching, errors."""

import shutil

import pytest

from landmark_ray.data.lookup import feature_arrays
from tests.tables import rows

pytestmark = [pytest.mark.shared, pytest.mark.ray]


MODELS = {"delf": ("delf_standin", 40, 1000), "xfeat": ("xfeat.onnx", 64, 1024)}
"""Extractor -> its model, the dimensions of its descriptors, and the largest number of features."""


def options_of(extractor, shared, gld_mini):
    handle = shared / "models" / MODELS[extractor][0]
    model = ("--extract.extractor", extractor, "--extract.handle", handle)
    few = ("--sample.min_images", 95, "--sample.max_images", 10, "--sample.strangers", 0)
    return ("--source", gld_mini, *model, *few, "--train.weights", "none")


@pytest.fixture(scope="module")
def options(shared, gld_mini):
    return options_of("delf", shared, gld_mini)


@pytest.fixture(scope="module")
def root(options, run_job, tmp_path_factory):
    """The tables of DELF up to those of the kept images."""
    out = tmp_path_factory.mktemp("delf") / "root"
    done = run_job("pipeline", "--root", out, "--to", "prune", *options)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def xfeat_root(root, shared, gld_mini, run_job, tmp_path_factory):
    """The same tables of XFeat, from the images of `root`."""
    out = shutil.copytree(root, tmp_path_factory.mktemp("xfeat") / "root")
    options = options_of("xfeat", shared, gld_mini)
    again = ("--redo", "extract", "--from", "extract", "--to", "prune")
    done = run_job("pipeline", "--root", out, *again, *options)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize(("extractor", "fixture"), [("delf", "root"), ("xfeat", "xfeat_root")])
def test_model_runs_in_a_pool_and_its_matches_verify_photos(extractor, fixture, request):
    root = request.getfixturevalue(fixture)
    _, dimensions, most = MODELS[extractor]
    features, images = rows(root, "features"), rows(root, "images")
    assert features.image_id.tolist() == images.image_id.tolist()
    row = features.iloc[0]
    points, descriptors = feature_arrays(row["count"], row.keypoints, row.descriptors)
    assert descriptors.shape == (row["count"], dimensions) and 0 < row["count"] <= most
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
    assert len(rows(again, "features")) == len(rows(root, "features"))  # --redo deleted nothing


def test_handle_is_tried_before_the_first_photo_is_read(options, run_job, tmp_path):
    words = ("--root", tmp_path / "root", *options, "--extract.handle", tmp_path)
    done = run_job("pipeline", *words, "--extract.extractor", "xfeat")
    assert done.returncode == 2 and done.stderr.count("error:") == 1
    assert f"--extract.handle: {tmp_path} cannot be read: Is a directory" in done.stderr
    assert not (tmp_path / "root/catalog").exists()

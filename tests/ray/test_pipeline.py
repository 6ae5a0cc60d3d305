"""The pipeline on a few drawn landmarks: the same tables however it is run."""

import json
import shutil
import sys

import pandas as pd
import pytest
from PIL import Image

from landmark_ray.config import STAGES
from landmark_ray.data import layout
from tests import product, store
from tests.tables import assert_same_tables, rows

pytestmark = pytest.mark.ray


def run(job, source, root, *options):
    args = ("--source", source, "--root", root, *options)
    done = job("pipeline", *args)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.long  # the killed runs of test_killed.py have such options, too
def test_other_cores_and_buckets_give_the_same_tables(
    small_source, small_root, run_process, tmp_path
):
    cut = ("--sample.buckets", "7", "--sample.shard_images", "9", "--ingest.buffer_mb", "0.1")
    args = ("--cluster.cpus", "1", *small_source.options, *cut, "--to", "resize")
    run(run_process, small_source.path, tmp_path, *args)
    assert_same_tables(tmp_path, small_root)


def test_funnel_adds_up_and_is_stored_with_a_picture(small_root):
    funnel = json.loads((small_root / "reports/funnel.json").read_text())
    assert list(funnel) == list(STAGES[: STAGES.index("resize") + 1])
    for before, after in zip(list(funnel.values())[:-1], list(funnel.values())[1:], strict=True):
        assert before["images_out"] == after["images_in"]
        assert sum(before["why"].values()) == before["images_in"] - before["images_out"]
    assert Image.open(small_root / "reports/funnel.png").width > 500
    assert not list((small_root / "_staging").rglob("*.parquet"))


def test_all_that_a_run_writes_is_known_to_be_its_own(small_root):
    for name in product.tables_of(small_root):
        assert layout.ours(name) or layout.REPORTS.fullmatch(name)


def test_wrong_md5_rejects_the_tars_rows_and_names_it(small_source, small_root, run_job, tmp_path):
    source, root = tmp_path / "source", tmp_path / "root"
    shutil.copytree(small_source.path, source)
    (source / "md5sum/train/md5.images_000.txt").write_text("0" * 32 + "  images_000.tar\n")
    (source / "md5sum/train/md5.images_001.txt").unlink()
    done = run(run_job, source, root, "--to", "ingest", *small_source.options)
    assert "train/images_001.tar was not checked" in done.stderr
    rejects = rows(root, "rejects").set_index("image_id")
    bad = rejects[rejects.reason.str.startswith("wrong md5: train/images_000.tar has ")]
    everything, left = rows(small_root, "catalog"), rows(root, "images")
    assert len(bad) > 10
    assert set(left.image_id) | set(rejects.index) == set(everything.image_id)
    assert not set(left.image_id) & set(rejects.index)


def test_stage_fails_when_more_than_the_configured_share_is_rejected(
    small_source, run_job, tmp_path
):
    options = ("--to", "ingest", "--ingest.min_side", "5000", *small_source.options)
    done = run_job("pipeline", "--source", small_source.path, "--root", tmp_path, *options)
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert "ingest rejected 100.0% of" in line and "too small" in line and "--redo ingest" in line


def test_folder_of_class_folders_gives_the_same_images(small_source, small_root, run_job, tmp_path):
    folder, root = tmp_path / "folder", tmp_path / "root"
    images = rows(small_root, "images")
    for image in images.itertuples():
        path = folder / str(image.landmark_id) / f"{image.image_id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.jpeg)
    run(run_job, folder, root, "--to", "ingest", *small_source.options)
    found = rows(root, "images")
    ids = found.landmark_id.astype(str) + "/" + images.image_id + ".jpg"
    assert (found.image_id == ids).all()
    columns = ["landmark_id", "width", "height", "jpeg"]
    pd.testing.assert_frame_equal(found[columns], images[columns])


@pytest.fixture
def s3(monkeypatch):
    """An S3 API on loopback, and its client; the environment points to it."""
    ill = store.Ill()
    server, address = store.serve(ill)
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield ill, store.client()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "ill", [pytest.param(False, marks=pytest.mark.long), True], ids=["well", "ill"]
)
def test_whole_run_on_s3_gives_the_same_tables(
    ill, s3, small_source, small_root, run_process, tmp_path
):
    server, bucket = s3
    for file in small_source.path.rglob("*"):
        if file.is_file():
            key = f"source/{file.relative_to(small_source.path)}"
            bucket.upload_file(str(file), store.BUCKET, key)
    run_all = ("s3://landmarks/source", "s3://landmarks/root", "--to", "resize")
    run_all += ("--cluster.cpus", "1")  # a process for each kind of task, not two
    server.ill = ill
    done = run(run_process, *run_all, *small_source.options)
    server.ill = False
    assert "Images in and out of each stage" in done.stdout
    troubles = {*store.ANSWERS, "outage", "late", "half"}
    assert set(+server.seen) == (troubles if ill else set()), server.seen
    for key in store.files(bucket, "root/"):
        target = tmp_path / key.removeprefix("root/")
        target.parent.mkdir(parents=True, exist_ok=True)
        bucket.download_file(store.BUCKET, key, str(target))
    assert_same_tables(tmp_path, small_root)
    again = run(run_process, *run_all, *small_source.options)  # s3fs remembers an address
    assert again.stderr.count("finished already") == len(STAGES[: STAGES.index("resize") + 1])


def test_python_of_the_jobs_is_the_one_of_the_tests():
    assert sys.prefix != sys.base_prefix, "run the tests with the project's .venv: make test"

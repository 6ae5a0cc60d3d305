"""Batch prediction as a person runs it, and what a kill costs."""

import csv
import os
import shutil
import subprocess
import sys

import psutil
import pyarrow.dataset as pads
import pytest

from tests.conftest import REPO, line_of
from tests.holds import Holds

pytestmark = pytest.mark.ray


def command(bundle, source, output):
    words = (sys.executable, REPO / "jobs/predict.py", "--bundle", bundle, "--source", source)
    return list(map(str, (*words, "--output", output)))


def answers(submission):
    """Lines without the confidence, and the confidences; NaN for a photo without an answer."""
    lines = [line.partition(" ") for line in submission.read_text().splitlines()[1:]]
    return [line[0] for line in lines], [float(line[2] or "nan") for line in lines]


@pytest.fixture(scope="module")
def undisturbed(trained_root, small_source, run_job, tmp_path_factory):
    """submission.csv for the training photos, of 4 tars."""
    output = tmp_path_factory.mktemp("predict") / "submission.csv"
    done = run_job(
        "predict", *command(trained_root / "bundle", small_source.path / "train", output)[2:]
    )
    assert done.returncode == 0, done.stderr
    return output


def test_every_photo_has_a_line_and_unreadable_ones_are_empty(undisturbed):
    lines = list(csv.reader(undisturbed.open()))
    assert lines[0] == ["id", "landmarks"]
    answers = dict(lines[1:])
    table = pads.dataset(undisturbed.with_suffix(".parquet")).to_table().to_pandas()
    assert sorted(line[0] for line in lines[1:]) == sorted(table.image_id)
    assert list(table["name"]) == [f"{'/'.join(i[:3])}/{i}.jpg" for i in table.image_id]
    bad = table[table.error != ""]
    assert len(bad) >= 2
    assert all(answers[image_id] == "" for image_id in bad.image_id)
    for given in filter(None, answers.values()):
        landmark, confidence = given.split()
        assert int(landmark) in (11, 22, 33, 44, 55)
        assert 0 <= float(confidence) <= 1


def test_killed_between_two_parts_the_same_command_ends_with_the_same_answers(
    undisturbed, trained_root, small_source, run_job, tmp_path
):
    output, holds = tmp_path / "submission.csv", Holds(tmp_path / "holds")
    holds.order("submission.parquet", after=1)
    job = command(trained_root / "bundle", small_source.path / "train", output)
    job += ["--cpus", str(os.cpu_count())]  # one worker, which starts TensorFlow once
    env = os.environ | holds.env()
    driver = subprocess.Popen(job, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    held = psutil.Process(holds.wait("submission.parquet", driver))
    driver.kill()
    driver.wait()
    held.wait(60)
    finished = list(tmp_path.glob("submission.parquet/bucket=0/*.parquet"))
    assert 0 < len(finished) < 4 and not output.exists()
    stamps = {path: path.stat().st_mtime_ns for path in finished}
    done = run_job("predict", *job[2:])
    assert done.returncode == 0, done.stderr
    (landmarks, confidences), (wanted, sure) = answers(output), answers(undisturbed)
    assert landmarks == wanted
    # Where other threads add up the same numbers, confidences differ in rounding.
    assert confidences == pytest.approx(sure, abs=1e-5, nan_ok=True)
    assert {path: path.stat().st_mtime_ns for path in finished} == stamps


def test_damaged_bundle_other_photos_and_no_photos_are_one_line(
    undisturbed, trained_root, small_source, run_job, tmp_path
):
    bundle = tmp_path / "bundle"
    shutil.copytree(trained_root / "bundle", bundle)
    weights = bundle / "groups/group=2/head.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    tar = next((small_source.path / "train").glob("*.tar"))
    for job, says in (
        (command(bundle, tar, tmp_path / "a.csv"), "group=2/head.weights.h5 is damaged"),
        (command(trained_root / "bundle", tar, undisturbed), "holds answers to something else"),
        (command(trained_root / "bundle", tmp_path / "none", tmp_path / "b.csv"), "none"),
    ):
        assert says in line_of(run_job("predict", *job[2:]))

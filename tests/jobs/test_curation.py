"""Detection, rules and verdicts on a small run, from the command line."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import psutil
import pytest

from landmark_ray.kernels.detection import Detector
from landmark_ray.kernels.image import decode
from tests.conftest import REPO, line_of
from tests.holds import Holds
from tests.jobs.conftest import ONE_DETECTOR, detecting
from tests.tables import assert_same_tables, rows

pytestmark = pytest.mark.ray

RULES = ("--clean.nature", "Tree", "--clean.people", "Person", "--clean.buildings", "Building")


def test_detections_are_those_of_the_model_on_every_kept_image(detected, detector_model):
    found, kept = rows(detected, "detections"), rows(detected, "kept")
    assert found.image_id.tolist() == kept.image_id[kept.keep].tolist()
    images = rows(detected, "images").set_index("image_id")
    detector = Detector(str(detector_model), min_score=0.1)
    some = 0
    for row in found.iloc[::7].itertuples():
        wanted = detector(decode(images.jpeg[row.image_id], 640))
        assert list(row.entities) == list(wanted.entities)
        np.testing.assert_allclose(row.scores, wanted.scores, rtol=1e-5)
        np.testing.assert_allclose(np.reshape(row.boxes, (-1, 4)), wanted.boxes, atol=1e-6)
        some += len(row.entities)
    assert some


def test_without_a_detector_the_funnel_says_so(small_root):
    text = (small_root / "reports/funnel.json").read_text()
    assert "not examined, as there is no detector" in text
    assert rows(small_root, "detections").empty


def test_report_writes_the_page_of_the_curation_anew(small_root, run_job, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(small_root, root)
    page = root / "reports/curation.html"
    was = galleries(page)
    page.unlink()
    done = run_job("report", "--root", root)
    assert done.returncode == 0, done.stderr
    assert f"page in {root}/reports/curation.html" in done.stdout
    assert galleries(page) == [text.replace(str(small_root), str(root)) for text in was]


def galleries(page) -> list[str]:
    """What a report shows of the images."""
    found = re.findall(r'<section class="gallery".*?</section>', page.read_text(), re.DOTALL)
    assert len(found) > 3
    return found


def test_rules_are_changed_without_detecting_again(
    detected, small_source, detector_model, run_job, tmp_path
):
    root = tmp_path / "root"
    shutil.copytree(detected, root)
    before = {p: p.stat().st_mtime_ns for p in root.glob("detections/**/*.parquet")}
    args = (*detecting(small_source, root, detector_model), "--clean.min_cover", "0")
    done = run_job("pipeline", *args, "--redo", "clean", *RULES)
    assert done.returncode == 0, done.stderr
    assert {p: p.stat().st_mtime_ns for p in root.glob("detections/**/*.parquet")} == before
    found = rows(root, "detections").set_index("image_id")
    cleaned = rows(root, "cleaned").set_index("image_id")
    bare = {i for i, row in found.iterrows() if "Building" not in _sure(row)}
    gone = set(cleaned.index[cleaned.reason == "no_building"])
    assert 0 < len(bare) < len(found)
    assert gone == bare  # a rule that covers nothing takes every image without a building


def _sure(row):
    return {e for e, s in zip(row.entities, row.scores, strict=True) if s >= 0.3}


@pytest.mark.long  # test_killed.py kills what detects nothing, test_poison.py what detects
def test_killed_while_detecting_it_goes_on(
    detected, small_source, small_root, detector_model, run_job, tmp_path
):
    root, holds = tmp_path / "root", Holds(tmp_path / "holds")
    shutil.copytree(small_root, root)
    holds.order("detections", after=1)
    options = (*detecting(small_source, root, detector_model), *ONE_DETECTOR)
    job = subprocess.Popen(
        [sys.executable, REPO / "jobs/pipeline.py", *map(str, options), "--redo", "detect"],
        env=os.environ | holds.env(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    held = psutil.Process(holds.wait("detections", job))
    job.kill()
    job.wait()
    held.wait(60)
    first = {p: p.stat().st_mtime_ns for p in root.glob("detections/bucket=*/shard-*.parquet")}
    assert 0 < len(first) < len(list(detected.glob("detections/bucket=*/shard-*.parquet")))
    done = run_job("pipeline", *options)
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_mtime_ns == made for path, made in first.items())
    assert_same_tables(root, detected, ("detections", "cleaned"))


def test_handle_that_cannot_be_loaded_is_one_line(small_source, small_root, run_job, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(small_root, root)
    done = run_job(
        "pipeline", *detecting(small_source, root, tmp_path / "none"), "--redo", "detect"
    )
    line = line_of(done)
    assert line.startswith("error: --detect.handle: ") and "openimages_v4" in line


def test_verdicts_decide_and_a_bad_list_is_one_line(small_source, small_root, run_job, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(small_root, root)
    kept = rows(root, "kept")
    gone, stays = kept.image_id[~kept.keep].iloc[0], kept.image_id[kept.keep].iloc[0]
    verdicts = tmp_path / "verdicts.csv"
    head = "verdict,image_id,landmark_id,reason\n"
    verdicts.write_text(f"{head}keep,{gone},,it is the tower\ndrop,{stays},,a model of it\n")
    args = ("--source", small_source.path, "--root", root, *small_source.options)
    args += ("--from", "clean", "--to", "resize", "--redo", "clean", "--clean.verdicts", verdicts)
    done = run_job("pipeline", *args)
    assert done.returncode == 0, done.stderr
    cleaned = rows(root, "cleaned").set_index("image_id")
    assert cleaned.keep[gone] and cleaned.note[gone] == "it is the tower"
    assert not cleaned.keep[stays] and cleaned.reason[stays] == "dropped"
    assert stays not in set(rows(root, "examples").image_id)
    verdicts.write_text(f"{head}keep,{gone},,it is the tower\n")  # changed: noticed
    line = line_of(run_job("pipeline", *args[: args.index("--redo")], "--clean.verdicts", verdicts))
    assert "verdicts of" in line and "--redo clean" in line
    verdicts.write_text("image,verdict\n")
    assert "must begin with the line" in line_of(run_job("pipeline", *args))


def test_rows_are_listed_as_csv(small_root, run_job):
    kept = rows(small_root, "kept")
    landmark = kept.landmark_id.iloc[0]
    where = ("--where", f"landmark_id={landmark}", "--where", "inliers>=1")
    done = run_job("rows", "--root", small_root, "--table", "kept", *where)
    listed = list(csv.DictReader(io.StringIO(done.stdout)))
    wanted = kept[(kept.landmark_id == landmark) & (kept.inliers >= 1)]
    assert [row["image_id"] for row in listed] == wanted.image_id.tolist()
    done = run_job("rows", "--root", small_root, "--table", "images", "--limit", "3")
    listed = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(listed) == 3 and "jpeg" not in listed[0]


@pytest.mark.parametrize(
    ("table", "where", "says"),
    [
        ("nothing", "a=1", "has no table nothing"),
        ("kept", "keep", "--where 'keep': write column"),
        ("kept", "kept=1", "the columns are image_id"),
        ("kept", "inliers=many", "inliers is of type int32, not 'many'"),
    ],
)
def test_wrong_conditions_are_one_line(small_root, run_job, table, where, says):
    done = run_job("rows", "--root", small_root, "--table", table, "--where", where)
    assert says in line_of(done)

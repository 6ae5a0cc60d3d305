"""What a person sees who gets it wrong: one clear line, no traceback, nothing lost."""

import pytest

from landmark_ray.config import STAGES
from tests.conftest import line_of

JOBS = (*STAGES, "pipeline")


def source_with(folder, csv):
    """A source with a train.csv."""
    (folder / "in").mkdir()
    (folder / "in/train.csv").write_text(csv)
    return folder / "in"


@pytest.mark.parametrize("job", JOBS)
def test_help_explains_the_job(job, run_job):
    done = run_job(job, "--help")
    assert done.returncode == 0
    assert "--match.min_inliers" in done.stdout and "(default: 11)" in done.stdout


def test_missing_source_root_or_dataset_is_one_line(run_job, tmp_path):
    out = tmp_path / "out"
    assert "--root is missing" in line_of(run_job("pipeline", "--source", tmp_path))
    assert "--source is missing" in line_of(run_job("pipeline", "--root", out))
    gone = line_of(run_job("pipeline", "--root", out, "--source", tmp_path / "gone"))
    assert f"there is nothing at {tmp_path / 'gone'}" in gone
    (tmp_path / "empty").mkdir()
    none = line_of(run_job("pipeline", "--root", out, "--source", tmp_path / "empty"))
    assert "is no dataset" in none
    assert not out.exists()


def test_csv_without_the_columns_is_one_line(run_job, tmp_path):
    data = source_with(tmp_path, "id,landmark\na,1\n")
    line = line_of(run_job("sample", "--source", data, "--root", tmp_path / "out"))
    assert "train.csv must be a csv with the columns id, landmark_id" in line


def test_stage_without_its_input_names_the_job_to_run(run_job, tmp_path):
    data = source_with(tmp_path, "id,landmark_id\na,1\n")
    line = line_of(run_job("match", "--source", data, "--root", tmp_path / "out"))
    assert "stage sample is not finished; run jobs/sample.py first" in line


def test_classes_that_are_all_too_small_are_said(run_job, tmp_path):
    data = source_with(tmp_path, "id,landmark_id\na,1\n")
    line = line_of(run_job("sample", "--source", data, "--root", tmp_path / "out"))
    assert "none of the 1 landmarks has 6 images or more; see --sample.min_images" in line


def test_unknown_option_is_one_line(run_job):
    assert "did you mean --match.min_inliers?" in line_of(run_job("match", "--match.mininliers", 3))

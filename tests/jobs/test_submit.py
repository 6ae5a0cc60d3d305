"""Every stage as a job of a running cluster, with token authentication, on loopback."""

import sys

import pytest

from landmark_ray.config import STAGES
from landmark_ray.manifest import Bundle
from tests.cluster import submit
from tests.conftest import TRAINING
from tests.tables import TABLES, assert_same_tables

pytestmark = pytest.mark.ray


def test_every_stage_runs_as_a_submitted_job(cluster, small_source, small_root, tmp_path):
    source = ("--source", small_source.path, "--root", tmp_path, *small_source.options)
    for stage in STAGES:
        options = () if stage in STAGES[: STAGES.index("resize")] else TRAINING
        done = submit(cluster, sys.executable, f"jobs/{stage}.py", *source, *options)
        assert done.returncode == 0, done.stdout + done.stderr
    same = [table for table in TABLES if table not in ("examples", "background")]  # other pixels
    assert_same_tables(tmp_path, small_root, same)
    assert Bundle(str(tmp_path / "bundle")).manifest.groups == [1, 2]


def test_job_of_somebody_without_the_token_is_refused(cluster):
    address, env = cluster
    stranger = {k: v for k, v in env.items() if not k.startswith("RAY_AUTH")}
    done = submit((address, stranger), sys.executable, "-c", "print('in')")
    assert done.returncode != 0
    assert "401" in done.stdout + done.stderr or "uthentication" in done.stdout + done.stderr

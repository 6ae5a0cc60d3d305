"""Every stage as a job of a cluster of a head and two workers, with token authentication."""

import sys
import time

import pytest

from landmark_ray.config import STAGES
from landmark_ray.manifest import Bundle
from tests.conftest import TRAINING
from tests.tables import TABLES, assert_same_tables

pytestmark = pytest.mark.ray


def test_every_stage_runs_as_a_submitted_job(cluster, small_source, small_root, tmp_path):
    source = ("--source", small_source.path, "--root", tmp_path, *small_source.options)
    for stage in STAGES:
        options = () if stage in STAGES[: STAGES.index("resize")] else TRAINING
        done = cluster.submit(sys.executable, f"jobs/{stage}.py", *source, *options)
        assert done.returncode == 0, done.stdout + done.stderr
    same = [table for table in TABLES if table not in ("examples", "background")]  # other pixels
    assert_same_tables(tmp_path, small_root, same)
    assert Bundle(str(tmp_path / "bundle")).manifest.groups == [1, 2]


def test_job_that_is_stopped_goes_on(cluster, small_source, small_root, tmp_path):
    source = ("--source", small_source.path, "--root", tmp_path, *small_source.options)
    command = (sys.executable, "jobs/pipeline.py", *source, "--to", "group")
    begun = cluster.submit(*command, options=("--no-wait", "--submission-id", "stopped"))
    assert begun.returncode == 0, begun.stdout + begun.stderr
    while not any(tmp_path.glob("images/**/*.parquet")):
        time.sleep(0.05)
    stopped = cluster.stop("stopped")
    assert "was stopped" in stopped.stdout, stopped.stdout + stopped.stderr
    done = cluster.submit(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sample: finished already" in done.stdout + done.stderr
    assert "group: finished already" not in done.stdout + done.stderr
    assert_same_tables(tmp_path, small_root)


WHERE = """
import ray, landmark_ray
def where():
    import landmark_ray
    return landmark_ray.__file__
ray.init()
asked = [ray.remote(where).options(scheduling_strategy="SPREAD").remote() for _ in range(4)]
for place in [landmark_ray.__file__, *ray.get(asked)]:
    print("code:", place)
"""


def test_job_brings_its_code_and_nothing_else(cluster):
    done = cluster.submit(sys.executable, "-c", WHERE)
    assert done.returncode == 0, done.stdout + done.stderr
    places = [line for line in done.stdout.splitlines() if line.startswith("code: ")]
    assert len(places) == 5 and all("working_dir_files" in place for place in places)
    done = cluster.submit("ls", "-A", ".")
    assert {"jobs", "landmark_ray"} <= set(done.stdout.split())
    assert not {"tests", "docs", "bench", ".git", ".venv", "demo"} & set(done.stdout.split())


def test_job_of_somebody_without_the_token_is_refused(cluster):
    assert cluster.refuses_strangers()

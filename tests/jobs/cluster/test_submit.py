"""Jobs of a cluster of a head and two workers, with token authentication."""

import sys

import pytest

from landmark_ray.bundle.manifest import Bundle
from landmark_ray.config import STAGES
from landmark_ray.data.root import Root
from landmark_ray.runtime import ledger
from tests.conftest import TRAINING
from tests.tables import TABLES, assert_same_tables
from tests.training import wait_until

pytestmark = pytest.mark.ray


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("last", ["trunk", pytest.param("export", marks=pytest.mark.long)])
def test_stopped_pipeline_goes_on_to_its_end(last, cluster, small_source, small_root, tmp_path):
    """A stage alone, and the pipeline after it, are submitted."""
    root = tmp_path / "root"
    one_group = ["6" if word == "6,12" else word for word in TRAINING]
    short = ("--train.trunk_epochs", "1", "--train.head_epochs", "1")
    source = ("--source", small_source.path, "--root", root, *small_source.options)
    source += (*one_group, *short)
    done = cluster.submit(sys.executable, "jobs/sample.py", *source)
    assert done.returncode == 0, done.stdout + done.stderr
    command = (sys.executable, "jobs/pipeline.py", *source, "--to", last)
    name = f"stopped-before-{last}"
    begun = cluster.submit(*command, options=("--no-wait", "--submission-id", name))
    assert begun.returncode == 0, begun.stdout + begun.stderr
    wait_until(lambda: any(root.glob("images/**/*.parquet")), "the job writes no images")
    stopped = cluster.stop(name)
    assert "was stopped" in stopped.stdout, stopped.stdout + stopped.stderr
    done = cluster.submit(*command, timeout=1500)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "sample: finished already" in said and "group: finished already" not in said
    same = [t for t in TABLES if t not in ("groups", "examples", "background")]  # others
    assert_same_tables(root, small_root, same)
    ran = STAGES[: STAGES.index(last) + 1]
    records = {stage: ledger.read(Root(str(root)), stage) for stage in ran}
    assert {record["state"] for record in records.values()} == {"finished"}
    assert (root / "models/trunk/history.json").exists()
    if last == "export":
        assert Bundle(str(root / "bundle")).manifest.groups == [1]


WHERE = """
import os, ray, landmark_ray
def where():
    import landmark_ray
    return landmark_ray.__file__
ray.init()
asked = [ray.remote(where).options(scheduling_strategy="SPREAD").remote() for _ in range(4)]
for place in [landmark_ray.__file__, *ray.get(asked)]:
    print("code:", place)
print("files:", *os.listdir())
"""


def test_job_brings_its_code_and_nothing_else(cluster):
    done = cluster.submit(sys.executable, "-c", WHERE)
    assert done.returncode == 0, done.stdout + done.stderr
    places = [line for line in done.stdout.splitlines() if line.startswith("code: ")]
    assert len(places) == 5 and all("working_dir_files" in place for place in places)
    (files,) = (line for line in done.stdout.splitlines() if line.startswith("files: "))
    assert {"jobs", "landmark_ray"} <= set(files.split())
    assert not {"tests", "docs", "bench", ".git", ".venv", "demo"} & set(files.split())


def test_job_of_somebody_without_the_token_is_refused(cluster):
    assert cluster.refuses_strangers()

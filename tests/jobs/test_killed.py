"""Killed in the middle of its work, the same command ends with the tables of an undisturbed run.

It has other cores and buckets than that run, too.
"""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import REPO
from tests.holds import Holds
from tests.tables import rows
from tests.vectors import assert_same_described

pytestmark = pytest.mark.ray

THREE = {"fragments": "worker", "hashes": "worker", "pairs": "driver"}
ELEVEN = {
    "fragments": "worker",
    "images": "driver",
    "hashes": "worker",
    "duplicates": "driver",
    "features": "driver",
    "match": "worker",  # parts of a class, in _staging
    "pairs": "driver",
    "descriptors": "worker",
    "kept": "worker",
    "cleaned": "driver",
    "examples": "driver",
}
"""Who is killed while a worker commits to a table."""

OTHERWISE = (
    *("--cluster.cpus", "1", "--sample.buckets", "7", "--sample.shard_images", "9"),
    *("--ingest.buffer_mb", "0.1"),
)
"""Options that may not change a table."""


def start(source, root: Path, holds: Holds, *more) -> "subprocess.Popen[bytes]":
    command = [sys.executable, REPO / "jobs/pipeline.py", "--source", source.path, "--root", root]
    return subprocess.Popen(
        [*command, *source.options, *OTHERWISE, *more, "--to", "resize"],
        env=os.environ | holds.env(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def shards_of(root: Path) -> dict[Path, int]:
    """Finished units of work and when each was finished.

    A file of `background` finishes none: the file of `examples` that is written after it does.
    """
    tables = (folder for folder in root.iterdir() if folder.name != "background")
    files = (file for table in tables for file in table.glob("bucket=*/shard-*.parquet"))
    return {file: file.stat().st_mtime_ns for file in files}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "kills", [THREE, pytest.param(ELEVEN, marks=pytest.mark.long)], ids=["three", "eleven"]
)
def test_tables_equal_an_undisturbed_runs_after_kills(kills, small_source, tmp_path, request):
    describes = "descriptors" in kills
    wanted = request.getfixturevalue("described_root" if describes else "small_root")
    more = request.getfixturevalue("described") if describes else ()
    root, holds = tmp_path / "root", Holds(tmp_path / "holds")
    for table in kills:
        holds.order(table, after=0 if table in ("fragments", "match") else 1)
    driver = start(small_source, root, holds, *more)
    committed: dict[Path, int] = {}
    for table, who in kills.items():
        held = psutil.Process(holds.wait(table, driver))
        if who == "worker":
            held.kill()
        else:
            driver.kill()
            driver.communicate()
        held.wait(60)  # a driver's workers end with it
        if who == "driver":
            now = shards_of(root)
            assert any(f"/{table}/" in str(path) for path in now), "nothing of it was finished"
            committed |= now
            driver = start(small_source, root, holds, *more)
    _, errors = driver.communicate()
    assert driver.returncode == 0, errors.decode()
    assert len(committed) > 10
    again = [path for path, made in committed.items() if path.stat().st_mtime_ns != made]
    assert not again, "a finished unit was done twice"
    assert_same_described(root, wanted)
    assert not list(root.rglob(".*.part"))
    for table in ("images", "features", "kept", "examples"):
        assert rows(root, table).image_id.is_unique

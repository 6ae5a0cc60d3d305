"""Killed at any moment, the same command ends with the tables of an undisturbed run."""

import contextlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from landmark_ray.data.root import Root
from landmark_ray.runtime import ledger
from tests.conftest import REPO
from tests.tables import assert_same_tables, rows

pytestmark = pytest.mark.ray

MOMENTS = [
    "ingest",
    *2 * ["dedupe"],
    "extract",
    *2 * ["match"],
    "prune",
    "clean",
    "group",
    "resize",
]
"""Ten kills, each at a random moment of one of these stages."""


def start(source, root) -> subprocess.Popen[bytes]:
    command = [sys.executable, REPO / "jobs/pipeline.py", "--source", source.path, "--root", root]
    return subprocess.Popen(
        [*command, *source.options, "--to", "resize"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def reaches(driver, tables: Root, stage: str) -> bool:
    """Wait until a stage has begun and Ray works; False if the driver ended before."""
    while driver.poll() is None:
        if ledger.read(tables, stage) and workers_of(driver):
            return True
        time.sleep(0.01)
    return False


def workers_of(driver) -> list[psutil.Process]:
    """Ray's processes that run the tasks of a driver."""
    found = []
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(driver.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                name = process.name() + "".join(process.cmdline())
                if "ray::Map" in name or "ray::run_part" in name:
                    found.append(process)
    return found


def shards_of(root: Path) -> dict[Path, int]:
    """Finished units of work and when each was finished."""
    return {path: path.stat().st_mtime_ns for path in root.glob("*/bucket=*/shard-*.parquet")}


def finish(driver) -> None:
    _, errors = driver.communicate()
    assert driver.returncode == 0, errors.decode()


@pytest.mark.timeout(1200)
def test_tables_equal_an_undisturbed_runs_after_ten_kills(small_source, small_root, tmp_path):
    chance = random.Random(os.environ.get("KILL_SEED", "7"))
    roots = [tmp_path / "0"]
    driver = start(small_source, roots[-1])
    killed = []
    committed: dict[Path, int] = {}
    for stage in MOMENTS:
        while not reaches(driver, Root(str(roots[-1])), stage):
            finish(driver)
            roots.append(tmp_path / str(len(roots)))
            driver = start(small_source, roots[-1])
        time.sleep(chance.uniform(0, 1.0))
        workers = workers_of(driver)
        if workers and chance.random() < 0.5:
            with contextlib.suppress(psutil.Error):
                chance.choice(workers).kill()
            killed.append((stage, "worker"))
        else:
            driver.kill()
            committed |= shards_of(roots[-1])
            driver.communicate()
            killed.append((stage, "driver"))
            driver = start(small_source, roots[-1])
    finish(driver)
    print(killed, "over", len(roots), "runs")
    assert {who for _, who in killed} == {"driver", "worker"}
    assert len(committed) > 20
    again = [path for path, made in committed.items() if path.stat().st_mtime_ns != made]
    assert not again, "a finished unit was done twice"
    for root in roots:
        assert_same_tables(root, small_root)
        assert not list(root.rglob(".*.part"))
        for table in ("images", "features", "kept", "examples"):
            assert rows(root, table).image_id.is_unique

"""Killed at any moment, the same command ends with the tables of an undisturbed run."""

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from landmark_ray import ledger
from landmark_ray.config import STAGES
from landmark_ray.storage import Tables
from tests.conftest import REPO
from tests.tables import assert_same_tables, rows

pytestmark = pytest.mark.ray

KILLS = 10


def start(source, root) -> subprocess.Popen[bytes]:
    command = [sys.executable, REPO / "jobs/pipeline.py", "--source", source.path, "--root", root]
    return subprocess.Popen(
        [*command, *source.options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def wait_for_work(driver, tables: Tables, stage: str) -> bool:
    """Wait until a stage has begun and Ray works for it; False if the driver ended before."""
    while driver.poll() is None:
        if ledger.read(tables, stage) and workers_of(driver):
            return True
        time.sleep(0.02)
    return False


def workers_of(driver) -> list[psutil.Process]:
    """Ray's processes that run tasks of a driver."""
    try:
        below = psutil.Process(driver.pid).children(recursive=True)
        return [p for p in below if "::Map" in "".join(p.cmdline()) or "ray::" in p.name()]
    except psutil.Error:
        return []


@pytest.mark.timeout(1200)
def test_tables_equal_an_undisturbed_runs_after_ten_kills(small_source, small_root, tmp_path):
    chance = random.Random(os.environ.get("KILL_SEED", "7"))
    tables = Tables(str(tmp_path))
    stages = [s for s in STAGES if s != "sample"]
    plan = sorted((chance.choice(stages) for _ in range(KILLS)), key=stages.index)
    hit = []
    driver = start(small_source, tmp_path)
    for stage in plan:
        if not wait_for_work(driver, tables, stage):
            driver = start(small_source, tmp_path) if driver.returncode else driver
            if not wait_for_work(driver, tables, stage):
                break
        time.sleep(chance.uniform(0, 2.0))
        workers = workers_of(driver)
        if workers and chance.random() < 0.5:
            victim = chance.choice(workers)
            hit.append((stage, "worker"))
            victim.send_signal(signal.SIGKILL)
        else:
            hit.append((stage, "driver"))
            driver.kill()
            driver.wait()
            driver = start(small_source, tmp_path)
    _, errors = driver.communicate()
    while driver.returncode:
        assert b"Traceback" not in errors, errors.decode()
        driver = start(small_source, tmp_path)
        _, errors = driver.communicate()
    print(hit)
    assert len(hit) >= KILLS - 3
    assert_same_tables(tmp_path, small_root)
    assert not list(tmp_path.rglob(".*.part"))
    for table in ("images", "features", "kept", "examples"):
        assert rows(tmp_path, table).image_id.is_unique

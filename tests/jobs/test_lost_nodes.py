"""Nodes of a cluster that are lost: the tables of an undisturbed run come out."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from landmark_ray.data.root import Root
from landmark_ray.runtime import ledger
from tests.conftest import FINETUNING, REPO, TRAINING
from tests.nodes import nodes
from tests.tables import assert_same_tables
from tests.training import checkpoints, history, wait_for

pytestmark = pytest.mark.ray


def start(cluster, source, root: Path, *more: str) -> "subprocess.Popen[bytes]":
    words = [sys.executable, REPO / "jobs/pipeline.py", "--source", source.path, "--root", root]
    return subprocess.Popen(
        [*map(str, words), *source.options, *more],
        env=cluster.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def lose_a_node_in(cluster, driver, root: Path, stage: str, chance: random.Random) -> None:
    """Kill a node while it runs a task of the stage."""
    tables = Root(str(root))
    while driver.poll() is None:
        record = ledger.read(tables, stage)
        if record and record["state"] == "running" and cluster.busy(("ray::Map", "ray::run_part")):
            time.sleep(chance.uniform(0, 0.3))
            cluster.lose()
            return
        time.sleep(0.005)
    raise AssertionError(f"it ended before {stage}: {driver.stderr.read().decode()}")


def finish(driver) -> str:
    _, errors = driver.communicate()
    assert driver.returncode == 0, errors.decode()
    return errors.decode()


@pytest.mark.timeout(900)
def test_tables_equal_an_undisturbed_runs_after_lost_nodes_and_a_new_head(
    small_source, small_root, tmp_path
):
    chance = random.Random(3)
    root = tmp_path / "root"
    with nodes() as cluster:
        driver = start(cluster, small_source, root, "--to", "extract")
        for stage in ("ingest", "dedupe", "extract"):
            lose_a_node_in(cluster, driver, root, stage, chance)
        finish(driver)
    with nodes() as cluster:  # the head was lost between two stages, and all nodes with it
        driver = start(cluster, small_source, root, "--to", "resize")
        for stage in ("match", "resize"):
            lose_a_node_in(cluster, driver, root, stage, chance)
        assert finish(driver).count("finished already") == 4
    assert_same_tables(root, small_root)
    assert not list(root.rglob(".*.part"))


@pytest.mark.timeout(900)
def test_training_goes_on_on_another_node(small_source, trained_root, again):
    with nodes() as cluster:
        more = ("--from", "finetune", "--to", "finetune", "--redo", "finetune")
        driver = start(cluster, small_source, again, *TRAINING, *FINETUNING, *more)
        wait_for(driver, again, 3)
        assert cluster.busy(("RayTrainWorker",)), "no training runs on the node that is to be lost"
        cluster.lose()
        finish(driver)
    assert not checkpoints(again)
    for group in (1, 2):
        was, now = history(trained_root, "finetuned", group), history(again, "finetuned", group)
        assert [e["epoch"] for e in now] == [e["epoch"] for e in was]
        for name in ("loss", "val_loss"):
            assert now[-1][name] == pytest.approx(was[-1][name], rel=0.05, abs=0.01)

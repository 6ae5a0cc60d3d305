"""Nodes of a cluster that are lost: the tables of an undisturbed run come out."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import FINETUNING, REPO, TRAINING
from tests.holds import Holds
from tests.nodes import nodes
from tests.tables import assert_same_tables
from tests.training import (
    assert_same_end,
    assert_went_on,
    caught,
    checkpoints,
    stopped,
)

pytestmark = pytest.mark.ray

LONG = pytest.mark.long


def start(cluster, source, root: Path, *more: str) -> "subprocess.Popen[bytes]":
    words = [sys.executable, REPO / "jobs/pipeline.py", "--source", source.path, "--root", root]
    return subprocess.Popen(
        [*map(str, words), *source.options, *more],
        env=cluster.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def lose_a_node_at(cluster, driver, table: str) -> None:
    """Kill a node while one of its workers, which is held there, commits a file of a table."""
    held = cluster.holds.wait(table, driver)
    assert held in [process.pid for process in cluster.busy(("ray::",))]
    cluster.lose()


def finish(driver) -> str:
    _, errors = driver.communicate()
    assert driver.returncode == 0, errors.decode()
    return errors.decode()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("first", "then"),
    [
        (("fragments",), ("pairs",)),
        pytest.param(("fragments", "hashes", "features"), ("pairs", "examples"), marks=LONG),
    ],
    ids=["two", "five"],
)
def test_tables_equal_an_undisturbed_runs_after_lost_nodes_and_a_new_head(
    first, then, small_source, small_root, tmp_path
):
    """Nodes are lost while they commit to the `first` tables, and under the new head `then`."""
    root, holds = tmp_path / "root", Holds(tmp_path / "holds")
    for table in (*first, *then):
        holds.order(table)
    with nodes(holds=holds) as cluster:
        driver = start(cluster, small_source, root, "--to", "extract")
        for table in first:
            lose_a_node_at(cluster, driver, table)
        finish(driver)
    with nodes(holds=holds) as cluster:  # the head was lost between two stages, and all with it
        driver = start(cluster, small_source, root, "--to", "resize")
        for table in then:
            lose_a_node_at(cluster, driver, table)
        assert finish(driver).count("finished already") == 4
    assert_same_tables(root, small_root)
    assert not list(root.rglob(".*.part"))


@pytest.mark.long  # test_training.py kills workers, which leaves the same checkpoints
@pytest.mark.timeout(1800)
def test_training_goes_on_on_another_node(small_source, trained_root, one_left):
    with nodes(head_cpus=0) as cluster:  # only the node that is to be lost can train
        more = ("--from", "finetune", "--to", "finetune")
        driver = start(cluster, small_source, one_left, *TRAINING, *FINETUNING, *more)
        found = caught(one_left, lambda: cluster.busy(("RayTrainWorker",)))
        with stopped(found, one_left) as marked:
            cluster.lose()
        finish(driver)
    assert not checkpoints(one_left)
    assert_went_on(one_left, marked)
    assert_same_end(one_left, trained_root, 1)

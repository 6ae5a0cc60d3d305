"""The phase metric as a person runs it, and what killed workers cost."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import TRAINING, line_of
from tests.training import MARK, kill, trained, wait_until, workers

pytestmark = pytest.mark.ray

METRIC = (
    *("--train.phases", "metric,head", "--train.metric_epochs", "20", "--train.embedding", "24"),
    *("--train.metric_rate", "1e-3", "--resize.fit", "pad"),
)
EPOCHS = 20
SIZES = ("--train.metric_sizes", "16,32")
"""Both halves of the epochs have their own."""


@pytest.fixture
def root(small_root, tmp_path) -> Path:
    """The examples of a run, before the trunk."""
    shutil.copytree(small_root, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def run_to(run_job, small_source, root):
    """Run the pipeline from the examples to a stage, with the options of this file."""

    def run(to: str, *more: str):
        words = ("--source", small_source.path, "--root", root, *small_source.options)
        options = (*TRAINING, *METRIC, "--train.cpus", "2")
        return run_job("pipeline", *words, *options, *more, "--to", to)

    return run


def history(root: Path) -> list[dict[str, float]]:
    entries: list[dict[str, float]] = json.loads((root / "models/trunk/history.json").read_text())
    return entries


@pytest.mark.long  # minutes
def test_embedding_goes_to_the_bundle_and_killed_workers_cost_no_more_than_an_epoch(root, run_to):
    done = run_to("trunk", *SIZES, "--redo", "group")
    assert done.returncode == 0, done.stderr
    undisturbed = history(root)
    assert [entry["epoch"] for entry in undisturbed] == list(range(1, EPOCHS + 1))
    assert undisturbed[-1]["loss"] < undisturbed[0]["loss"]

    def kill_twice() -> set[int]:
        """The worker, and the one that replaces it, at the first size and the last; their ids."""
        killed: set[int] = set()
        for least in (0, EPOCHS // 2):
            done = max(trained(root).get("trunk", 0), least)
            wait_until(lambda: trained(root).get("trunk", 0) > done, "no epoch ends")  # noqa: B023
            running = workers()
            kill(root, running)
            killed |= {process.pid for process in running}
        return killed

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill_twice)
        done = run_to("trunk", *SIZES, "--redo", "trunk")
    assert done.returncode == 0, done.stderr
    assert len(killing.result()) == 2
    now = history(root)
    assert [entry["epoch"] for entry in now] == list(range(1, EPOCHS + 1))
    assert now[0]["loss"] == MARK, "the training began anew"
    for name in ("loss", "val_loss"):
        assert abs(now[-1][name] - undisturbed[-1][name]) <= max(0.05 * undisturbed[-1][name], 0.01)

    done = run_to("export", *SIZES)
    assert done.returncode == 0, done.stderr
    assert json.loads((root / "bundle/bundle.json").read_text())["fit"] == "pad"
    trunk = json.loads((root / "bundle/trunk/network.json").read_text())
    assert (trunk["embedding"], trunk["features"], trunk["pooling"]) == (True, 24, "gem")
    assert (trunk["size"], trunk["input_size"]) == (32, 32)
    assert json.loads((root / "models/groups/group=1/head.json").read_text())["features"] == 24


def test_centers_that_do_not_fit_are_sampled_and_those_of_a_step_must(root, run_to):
    few = ("--train.batch", "2", "--train.metric_epochs", "2")
    line = line_of(run_to("trunk", *few, "--redo", "group", "--train.metric_memory_gb", "1.3e-5"))
    assert line.endswith("give 1.5e-05, or a smaller --train.batch or --train.embedding")
    some = ("--redo", "trunk", "--train.metric_memory_gb", "1.5e-5")  # for 4 of 5 landmarks
    shapes = ("--train.metric_sizes", "16", "--train.metric_proportions", "true")
    done = run_to("trunk", *few, *some, *shapes)
    assert done.returncode == 0, done.stderr
    assert [entry["epoch"] for entry in history(root)] == [1, 2]
    assert all(entry["val_loss"] > 0 for entry in history(root))
    trunk = json.loads((root / "models/trunk/network.json").read_text())
    assert (trunk["size"], trunk["input_size"]) == (16, 32)

"""Training as a person runs it: what comes out, and what a killed worker or driver costs."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from landmark_ray.bundle.ensemble import Ensemble
from landmark_ray.bundle.manifest import REFERENCE, Bundle
from landmark_ray.bundle.reference import Reference
from tests.conftest import FINETUNING, REPO, TRAINING, line_of
from tests.training import checkpoints, history, wait_for

pytestmark = pytest.mark.ray


def command(stage: str, source, root: Path, *more: str) -> list[str]:
    words = [sys.executable, REPO / f"jobs/{stage}.py", "--source", source.path, "--root", root]
    return list(map(str, [*words, *source.options, *TRAINING, *FINETUNING, *more]))


def train_workers(driver: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Processes in which a training loop runs."""
    found = []
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(driver.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "RayTrainWorker" in process.name() + "".join(process.cmdline()):
                    found.append(process)
    return found


def test_all_phases_leave_their_history_and_the_best_epoch_wins(trained_root):
    trunk = json.loads((trained_root / "models/trunk/history.json").read_text())
    assert [entry["epoch"] for entry in trunk] == list(range(1, 11))
    assert trunk[-1]["loss"] < trunk[0]["loss"]
    for group in (1, 2):
        assert [e["epoch"] for e in history(trained_root, "groups", group)] == [1, 2, 3, 4, 5, 6]
        tuned = history(trained_root, "finetuned", group)
        assert [e["epoch"] for e in tuned] == list(range(1, len(tuned) + 1))
        assert all({"loss", "val_loss", "top1", "other_top1"} <= set(e) for e in tuned)
    assert not (trained_root / "_staging/train").exists()


def test_report_and_bundle_have_the_finetuned_networks(trained_root):
    page = (trained_root / "reports/evaluation.html").read_text()
    assert "Trunk" in page and "Group 2" in page
    for group in (1, 2):
        head = json.loads((trained_root / f"bundle/groups/group={group}/head.json").read_text())
        assert head["trunk"] == f"groups/group={group}"
        assert (trained_root / f"bundle/{head['trunk']}/network.weights.h5").exists()


def test_bundle_has_reference_answers_of_the_finetuned_networks(trained_root):
    bundle = Bundle(str(trained_root / "bundle"))
    reference = Reference.read(bundle, REFERENCE, bundle.manifest.size)
    assert len(np.unique(reference.photos, axis=0)) == len(reference.photos) > 8
    ensemble = Ensemble(bundle)
    reference.check(lambda photos: ensemble.logits(ensemble.vectors(photos)), [1, 2], 1e-4)


@pytest.mark.timeout(900)
def test_killed_workers_cost_no_more_than_an_epoch(small_source, trained_root, again):
    job = command("finetune", small_source, again, "--redo", "finetune")
    driver = subprocess.Popen(job, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    killed = 0
    for number in (2, 4):  # between the first epochs of both groups, and some time later
        wait_for(driver, again, number)
        time.sleep(0.3 * killed)
        for worker in train_workers(driver):
            with contextlib.suppress(psutil.Error):
                worker.kill()
                killed += 1
    _, errors = driver.communicate()
    assert driver.returncode == 0, errors.decode()
    assert killed >= 2
    for group in (1, 2):
        was, now = history(trained_root, "finetuned", group), history(again, "finetuned", group)
        assert [e["epoch"] for e in now] == [e["epoch"] for e in was]
        for name in ("loss", "val_loss"):
            assert now[-1][name] == pytest.approx(was[-1][name], rel=0.05, abs=0.01)


@pytest.mark.timeout(900)
def test_same_command_goes_on_from_the_checkpoints_of_a_killed_driver(small_source, again):
    job = command("finetune", small_source, again, "--redo", "finetune")
    driver = subprocess.Popen(job, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(driver, again, 5)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    for process in train_workers(driver):
        process.kill()
    time.sleep(3)  # Ray's processes notice
    before = checkpoints(again)
    job = command("finetune", small_source, again)
    driver = subprocess.Popen(job, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    seen: set[Path] = set()
    while driver.poll() is None:
        seen |= checkpoints(again)
        time.sleep(0.02)
    assert driver.returncode == 0, driver.stderr.read().decode()
    assert before
    assert len(seen - before) <= 6, "all 4 epochs of both groups have run again"
    assert [e["epoch"] for e in history(again, "finetuned", 1)] == [1, 2, 3, 4]


@pytest.mark.timeout(900)
def test_worker_that_dies_again_and_again_is_one_line(small_source, again):
    job = command("finetune", small_source, again, "--redo", "finetune", "--train.retries", "0")
    driver = subprocess.Popen(job, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for(driver, again, 1)
    for worker in train_workers(driver):
        worker.kill()
    _, errors = driver.communicate()
    assert driver.returncode == 2, errors.decode()
    last = errors.decode().strip().splitlines()[-1]
    assert (
        last.startswith("error: group-")
        and "its worker died more often than --train.retries 0 allows" in last
    )


def test_finished_groups_are_skipped(small_source, again, run_job):
    record = json.loads((again / "_ledger/finetune.json").read_text())
    (again / "_ledger/finetune.json").write_text(json.dumps(record | {"state": "running"}))
    kept = again / "models/finetuned/group=1/head.json"
    gone = again / "models/finetuned/group=2/head.json"
    stamp = kept.stat().st_mtime_ns
    gone.unlink()
    done = run_job("finetune", *command("finetune", small_source, again)[2:])
    assert done.returncode == 0, done.stderr
    assert kept.stat().st_mtime_ns == stamp
    assert gone.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--train.network", "resnet5"), "resnet5"),
        (("--train.gpus", "3"), "--train.gpus 3: the cluster has 0 GPUs"),
        (("--train.weights", "/nowhere.h5"), "there is no file of weights /nowhere.h5"),
        (("--train.weights", "imagenet"), "small has no imagenet weights"),
        (("--train.phases", "finetune"), "must be head, or head,finetune"),
    ],
)
def test_wrong_options_are_one_line(small_source, again, run_job, options, says):
    job = command("trunk", small_source, again, "--redo", "trunk", *options)
    assert says in line_of(run_job("trunk", *job[2:]))

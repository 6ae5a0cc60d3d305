"""Training as a person runs it: what comes out, and what a killed worker or driver costs."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import pytest

from landmark_ray.bundle.ensemble import Ensemble
from landmark_ray.bundle.manifest import CARD, PROVENANCE, REFERENCE, Bundle
from landmark_ray.bundle.reference import Reference
from landmark_ray.reports.model_card import render
from tests.conftest import FINETUNING, REPO, TRAINING, line_of
from tests.jobs.conftest import untrain
from tests.tracked import assert_curves
from tests.training import (
    assert_same_end,
    assert_went_on,
    caught,
    history,
    kill,
    stopped,
    workers,
)

pytestmark = pytest.mark.ray

T = TypeVar("T")


def command(stage: str, source, root: Path, *more: str) -> list[str]:
    words = [sys.executable, REPO / f"jobs/{stage}.py", "--source", source.path, "--root", root]
    return list(map(str, [*words, *source.options, *TRAINING, *FINETUNING, *more]))


def test_all_phases_leave_their_history_and_the_best_epoch_wins(trained_root):
    trunk = json.loads((trained_root / "models/trunk/history.json").read_text())
    assert [entry["epoch"] for entry in trunk] == [1, 2, 3]
    assert trunk[-1]["loss"] < trunk[0]["loss"]
    for group in (1, 2):
        assert [e["epoch"] for e in history(trained_root, "groups", group)] == [1, 2, 3]
        tuned = history(trained_root, "finetuned", group)
        assert [e["epoch"] for e in tuned] == list(range(1, len(tuned) + 1))
        assert all({"loss", "val_loss", "top1", "other_top1"} <= set(e) for e in tuned)
    assert not (trained_root / "_staging/train").exists()


def test_curves_of_all_trainings_are_the_histories_and_the_final_figures_are_the_reports(
    trained_root,
):
    trunk = json.loads((trained_root / "models/trunk/history.json").read_text())
    assert_curves(trained_root, "trunk", "trunk", trunk)
    for stage, place in (("train", "groups"), ("finetune", "finetuned")):
        for group in (1, 2):
            assert_curves(
                trained_root, stage, f"group-{group}", history(trained_root, place, group)
            )
    report = json.loads((trained_root / "reports/evaluation.json").read_text())
    ensemble = report["validation"]["ensemble"]
    figures = {f"validation/{name}": float(value) for name, value in ensemble.items()}
    assert_curves(trained_root, "evaluate", "ensemble", [{"epoch": 0, **figures}])


def test_report_and_bundle_have_the_finetuned_networks(trained_root):
    page = (trained_root / "reports/evaluation.html").read_text()
    assert "Trunk" in page and "Group 2" in page
    for group in (1, 2):
        head = json.loads((trained_root / f"bundle/groups/group={group}/head.json").read_text())
        assert head["trunk"] == f"groups/group={group}"
        assert (trained_root / f"bundle/{head['trunk']}/network.weights.h5").exists()


def test_bundle_has_a_card_of_this_run_that_is_made_of_the_bundle_alone(trained_root):
    bundle = Bundle(str(trained_root / "bundle"))
    card = bundle.read(CARD).decode()
    fields = bundle.manifest.model_dump(exclude={"format", "version", "created", "files"})
    assert render(bundle, fields, bundle.read_json(PROVENANCE)) == card
    ensemble = json.loads((trained_root / "reports/evaluation.json").read_text())["validation"]
    assert f"| top-1 accuracy | {ensemble['ensemble']['top1']:.3f} |" in card
    assert "| `train.network` | small |" in card and "| `train.phases` | head, finetune |" in card
    assert (
        "The source listed 74 photos of 6 landmarks." in card
        and "names neither authors nor licences" in card
    )


def test_bundle_has_reference_answers_of_the_finetuned_networks(trained_root):
    bundle = Bundle(str(trained_root / "bundle"))
    reference = Reference.read(bundle, REFERENCE, bundle.manifest.size)
    assert len(np.unique(reference.photos, axis=0)) == len(reference.photos) > 8
    ensemble = Ensemble(bundle)
    reference.check(lambda photos: ensemble.logits(ensemble.vectors(photos)), [1, 2], 1e-4)


@contextmanager
def meanwhile(work: Callable[[], T]) -> Iterator[Future[T]]:
    """Work in a thread, beside a job that runs in this process."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(work)


@pytest.mark.parametrize("groups", [(1,), pytest.param((1, 2), marks=pytest.mark.long)])
def test_killed_workers_cost_no_more_than_an_epoch(
    groups, small_source, trained_root, again, run_job
):
    """All workers are killed until the training of each group has lost one after two epochs."""
    untrain(again, *groups)
    marked: set[str] = set()

    def kill_all() -> None:
        while len(marked) < len(groups):
            marked.update(kill(again, caught(again, workers, done=marked)))

    job = command("finetune", small_source, again)
    with meanwhile(kill_all) as killing:
        done = run_job("finetune", *job[2:])
    killing.result()
    assert done.returncode == 0, done.stderr
    assert_went_on(again, marked)
    for group in groups:
        assert_same_end(again, trained_root, group)


def test_same_command_goes_on_from_the_checkpoint_of_a_killed_driver(
    small_source, trained_root, one_left, run_job
):
    kept = one_left / "models/finetuned/group=2/head.json"
    stamp = kept.stat().st_mtime_ns
    job = command("finetune", small_source, one_left)
    driver = subprocess.Popen(job, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    processes = caught(one_left, lambda: workers(driver.pid))
    with stopped(processes, one_left) as marked:
        driver.kill()
        driver.wait()
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive, "workers outlive their driver"
    assert not (one_left / "models/finetuned/group=1/head.json").exists()
    done = run_job("finetune", *job[2:])
    assert done.returncode == 0, done.stderr
    assert_went_on(one_left, marked)
    assert_same_end(one_left, trained_root, 1)
    assert kept.stat().st_mtime_ns == stamp, "a finished group was trained again"


def test_worker_that_dies_again_and_again_is_one_line(small_source, one_left, run_job):
    def kill_one() -> set[str]:
        return kill(one_left, caught(one_left, workers))

    job = command("finetune", small_source, one_left, "--train.retries", "0")
    with meanwhile(kill_one) as killed:
        line = line_of(run_job("finetune", *job[2:]))
    assert killed.result() == {"group-1"}
    assert line.startswith("error: group-1: ")
    assert "its worker died more often than --train.retries 0 allows" in line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--train.network", "resnet5"), "resnet5"),
        (("--train.gpus", "3"), "--train.gpus 3: this machine has 0 GPUs"),
        (("--train.phases", "finetune"), "must be head, or head,finetune"),
    ],
)
def test_wrong_options_are_one_line(small_source, again, run_job, options, says):
    job = command("trunk", small_source, again, "--redo", "trunk", *options)
    assert says in line_of(run_job("trunk", *job[2:]))

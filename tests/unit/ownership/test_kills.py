"""A run, a redo, an export, a report, killed at any change of the file system: it goes on.

With LANDMARK_RAY_RANDOM_RUNS set, each change of the file system has its kill, else every fifth.
"""

import os
import shutil
from pathlib import Path

import pytest

from landmark_ray.bundle import manifest
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.runtime import receipts
from landmark_ray.runtime.predict_output import Submission
from tests import product


class Killed(BaseException):
    """As SIGKILL: nobody catches it."""


OPERATIONS = ((os, "replace"), (os, "unlink"), (os, "rmdir"), (os, "makedirs"))


class Deaths:
    """Dies before or after the n-th change of the file system."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, after: bool) -> None:
        self.count = 0
        for module, name in OPERATIONS:
            patch.setattr(module, name, self.wrapped(getattr(module, name), at, after))

    def wrapped(self, work, at, after):
        def operation(*args, **named):
            self.count += 1
            number = self.count
            if number == at and not after:
                raise Killed
            work(*args, **named)
            if number == at:
                raise Killed

        return operation


def dies(work, at: int, after: bool) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        Deaths(patch, at, after)
        try:
            work()
        except Killed:
            return True
    return False


STEP = 1 if "LANDMARK_RAY_RANDOM_RUNS" in os.environ else 5


def deaths(work, prepare, check, step: int = STEP) -> int:
    """Kill `work` at its first change, at a later one and so on; each time it must go on."""
    at = 1
    while True:
        for after in (False, True):
            prepare()
            if not dies(work, at, after):
                return at
            work()
            check()
        at += step


def reset(root: Path, to: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    if to.exists():
        shutil.copytree(to, root)


def test_killed_at_any_change_a_run_goes_on(source, root, tmp_path):
    product.run(source, tmp_path / "whole", last="match")
    whole = product.tables_of(tmp_path / "whole")

    def check():
        assert product.tables_of(root) == whole

    run = lambda: product.run(source, root, last="match")  # noqa: E731
    assert deaths(run, lambda: reset(root, tmp_path / "none"), check) > 60


def test_killed_at_any_change_a_redo_goes_on(source, root, tmp_path):
    """With the same command, and without --redo: a half deleted table is never taken for whole."""
    for seed, name in ((0, "before"), (1, "whole")):
        product.run(source, tmp_path / name, last="match", seed=seed)
    whole = product.tables_of(tmp_path / "whole")
    before = product.tables_of(tmp_path / "before")
    again = lambda: product.run(source, root, last="match", redo="ingest")  # noqa: E731
    prepare = lambda: reset(root, tmp_path / "before")  # noqa: E731
    assert deaths(again, prepare, lambda: tables_equal(root, before)) > 100
    for at in range(2, 40, 2 * STEP):
        reset(root, tmp_path / "before")
        assert dies(again, at, after=True)
        product.run(source, root, last="match")
        tables_equal(root, before)
    other = lambda: product.run(source, root, last="match", redo="sample", seed=1)  # noqa: E731
    for at in range(3, 60, 2 * STEP):
        reset(root, tmp_path / "before")
        assert dies(other, at, after=True)
        other()
        tables_equal(root, whole)


def tables_equal(root: Path, wanted: dict[str, bytes]) -> None:
    assert product.tables_of(root) == wanted


def test_killed_at_any_change_an_export_elsewhere_goes_on(source, root, tmp_path):
    to = tmp_path / "to"
    product.run(source, root, last="evaluate")
    shutil.copytree(root, tmp_path / "evaluated")
    product.run(source, root, export={"to": str(to)})
    shutil.copytree(to, tmp_path / "older")
    files_of_older = product.files(to)

    def check():
        assert product.files(to).keys() == files_of_older.keys()
        manifest.Bundle(str(to))

    def run():
        product.run(source, root, "export", export={"to": str(to)})

    for older in ("none", "older"):

        def prepare(older=older):
            reset(root, tmp_path / "evaluated")
            reset(to, tmp_path / older)

        assert deaths(run, prepare, check, 2 * STEP - 1) > 10


def test_killed_at_any_change_predict_goes_on(tmp_path):
    output = tmp_path / "out/sub.csv"

    def run():
        submission = Submission(str(output), {"bundle": "a", "source": "b", "top_k": 5})
        submission.root.write(submission.root.name(submission.answers, 0, 0), b"answers")
        submission.write("id,landmarks\n")

    def check():
        assert output.read_text() == "id,landmarks\n"
        run()

    for first in (lambda: None, run):

        def prepare(first=first):
            shutil.rmtree(output.parent, ignore_errors=True)
            first()

        assert deaths(run, prepare, check, 1) > 3


def test_killed_at_any_change_a_report_goes_on(source, tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    product.run(source, tmp_path / "made", last="match")
    shutil.rmtree(tmp_path / "made/_ledger/written")  # of older code
    data = {"tune.toml": b"1", "tune.csv": b"2"}

    def run():
        tables = Root(str(root))
        receipts.begin(tables)
        for folder in (Store(str(outside)), Store(str(root / "reports"))):
            receipts.write(tables, data, folder)
        receipts.write(tables, {"reports/funnel.json": b"3"})

    def prepare():
        reset(root, tmp_path / "made")
        shutil.rmtree(outside, ignore_errors=True)

    def check():
        assert {name: product.files(outside)[name] for name in data} == data
        assert (root / "reports/funnel.json").read_bytes() == b"3"

    assert deaths(run, prepare, check) > 10

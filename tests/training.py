"""What tests see and do to a training from outside."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.tracked import tensorboard_curves

MARK = 4711.0
"""A loss that no training has: it is written into the histories of checkpoints."""

EPOCHS = 4
"""Of a training that nobody disturbs."""

PATIENCE_S = 600


def history(root: Path, place: str, group: int) -> list[dict[str, float]]:
    head = root / f"models/{place}/group={group}/head.json"
    found: list[dict[str, float]] = json.loads(head.read_text())["report"]["history"]
    return found


def checkpoints(root: Path) -> dict[Path, int]:
    """Every checkpoint's history, and the epochs that it has."""
    found = {}
    for path in root.glob("_staging/train/*/checkpoint_*/history.json"):
        with suppress(OSError, ValueError):  # it is being written, or deleted
            found[path] = len(json.loads(path.read_text()))
    return found


def name_of(path: Path) -> str:
    """The training that a checkpoint is of."""
    return path.parts[-3]


def trained(root: Path) -> dict[str, int]:
    """Epochs that each training can go on from."""
    found: dict[str, int] = {}
    for path, epochs in checkpoints(root).items():
        found[name_of(path)] = max(found.get(name_of(path), 0), epochs)
    return found


def wait_until(true: Callable[[], object], what: str) -> None:
    """Until something is true; an error that says what, where it takes too long."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def caught(
    root: Path, look: Callable[[], list[psutil.Process]], done: Iterable[str] = ()
) -> list[psutil.Process]:
    """The workers that `look` finds, once a training that is not of `done` has two epochs."""

    def reached(epochs: int) -> bool:
        return any(n not in done and e >= epochs for n, e in trained(root).items())

    found: list[psutil.Process] = []

    def seen() -> bool:
        found[:] = look()  # takes a while, in which the next epoch may end
        return bool(found)

    wait_until(lambda: reached(1), "no training has an epoch")
    wait_until(seen, "no training runs")  # those that were killed before are replaced
    wait_until(lambda: reached(2), "no training has two epochs")
    return found


def workers(parent: int | None = None) -> list[psutil.Process]:
    """Processes in which a training loop runs: of a driver's Ray, by default of this process's."""
    found = []
    with suppress(psutil.Error):
        for process in psutil.Process(parent).children(recursive=True):
            with suppress(psutil.Error):
                if "RayTrainWorker" in process.name() + "".join(process.cmdline()):
                    found.append(process)
    return found


@contextmanager
def stopped(processes: list[psutil.Process], root: Path) -> Iterator[set[str]]:
    """Processes of trainings, in the middle of an epoch, with marks in all of their checkpoints.

    They stand still until the context ends, and are to be killed in it. A training that goes on
    from a checkpoint has the mark in its history; one that begins anew has not.

    Yields:
        Names of the trainings that are to go on from a mark: of the first epoch the driver may not
        have heard yet, and after the last there is nothing to go on with.
    """
    assert processes, "no training runs"
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # of another training, which has ended
            process.suspend()
    try:
        marked = {path: epochs for path, epochs in checkpoints(root).items() if _mark(path)}
        yield {name_of(path) for path, epochs in marked.items() if 2 <= epochs < EPOCHS}
    finally:
        with suppress(psutil.Error):
            for process in processes:
                process.resume()


def _mark(path: Path) -> bool:
    with suppress(OSError):  # an older one is being deleted
        entries = json.loads(path.read_text())
        entries[0]["loss"] = MARK
        path.write_text(json.dumps(entries))
        return True
    return False


def kill(root: Path, processes: list[psutil.Process]) -> set[str]:
    """SIGKILL for processes of trainings; the names of trainings with a marked checkpoint."""
    with stopped(processes, root) as marked:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive
    return marked


def assert_went_on(root: Path, marked: set[str]) -> None:
    """The marked trainings went on from their checkpoints, to their last epochs."""
    assert marked
    for name in marked:
        entries = history(root, "finetuned", int(name.removeprefix("group-")))
        assert [entry["epoch"] for entry in entries] == list(range(1, EPOCHS + 1))
        assert entries[0]["loss"] == MARK, f"{name} began anew"
        curve = tensorboard_curves(root, "finetune", name)["loss"]
        assert [epoch for epoch, _ in curve] == list(range(1, EPOCHS + 1))


def assert_same_end(root: Path, undisturbed: Path, group: int) -> None:
    """A training ended as one that nobody disturbed."""
    was, now = (history(place, "finetuned", group) for place in (undisturbed, root))
    assert [entry["epoch"] for entry in now] == [entry["epoch"] for entry in was]
    for name in ("loss", "val_loss"):
        assert abs(now[-1][name] - was[-1][name]) <= max(0.05 * abs(was[-1][name]), 0.01)

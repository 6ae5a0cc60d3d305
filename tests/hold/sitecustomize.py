"""In every Python whose PYTHONPATH has this folder: a worker is held before it commits a file.

Python imports this by itself. `tests.holds` says what is held, and sees which process is.
"""

import os
import time
from pathlib import Path

# Python imports only the first file of this name: this one starts as quickly as all others.
exec((Path(__file__).parents[1] / "quick/sitecustomize.py").read_text())

HOLDS = Path(os.environ.get("TESTS_HOLDS", "/nonexistent"))
TAKES = os.environ.get("TESTS_HOLDS_TAKE") == "1"
"""Whether processes of this node may be held; others wait until one of a node that may is."""

_replace = os.replace


def _replace_unless_held(source, target, **named):
    for order in HOLDS.glob("*.order"):
        root, part, _ = os.fspath(target).partition(f"/{order.stem}/")
        if part and _files(f"{root}{part}") >= int(order.read_text()):
            _obey(order.with_suffix(".held"))
    return _replace(source, target, **named)


def _files(folder: str) -> int:
    return sum(name.endswith(".parquet") for _, _, names in os.walk(folder) for name in names)


def _obey(held: Path) -> None:
    """The first process that may be held stays here until it is killed."""
    while not held.exists():
        if TAKES:
            try:
                with held.open("x") as file:
                    file.write(f"{os.getpid()}\n")
            except FileExistsError:
                return
            while True:
                time.sleep(60)
        time.sleep(0.01)


os.replace = _replace_unless_held

"""What tests see of a training from outside."""

import json
import subprocess
import time
from pathlib import Path


def history(root: Path, place: str, group: int) -> list[dict[str, float]]:
    head = root / f"models/{place}/group={group}/head.json"
    found: list[dict[str, float]] = json.loads(head.read_text())["report"]["history"]
    return found


def checkpoints(root: Path) -> set[Path]:
    return set(root.glob("_staging/train/*/checkpoint_2*"))


def wait_for(driver: subprocess.Popen[bytes], root: Path, number: int) -> None:
    """Until there have been so many checkpoints in all."""
    seen: set[Path] = set()
    while len(seen) < number:
        assert driver.poll() is None, f"it ended after {len(seen)} checkpoints"
        seen |= checkpoints(root)
        time.sleep(0.02)

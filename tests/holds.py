"""Workers that are held in the middle of their work, so that a test can kill them there."""

import os
import subprocess
import time
from pathlib import Path

from tests.running import REPO


class Holds:
    """What is held, in a folder that `tests/hold/sitecustomize.py` reads in every worker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def env(self, takes: bool = True) -> dict[str, str]:
        """For the environment of a driver or a node.

        Args:
            takes: its workers may be held; those of other nodes wait until one is.
        """
        path = f"{REPO / 'tests/hold'}:{REPO}"
        take = {"TESTS_HOLDS_TAKE": "1"} if takes else {}
        return {"PYTHONPATH": path, "TESTS_HOLDS": str(self.folder)} | take

    def order(self, name: str, after: int = 0) -> None:
        """Hold the worker that is about to commit a file to such a folder, after so many tables."""
        new = self.folder / f"{name}.new"
        new.write_text(f"{after}")
        new.rename(new.with_suffix(".order"))

    def wait(self, name: str, driver: "subprocess.Popen[bytes]") -> int:
        """The id of the process that is held; the others go on."""
        held = self.folder / f"{name}.held"
        while not (held.exists() and held.read_text().endswith("\n")):
            assert driver.poll() is None, f"it ended before a worker committed to {name}"
            time.sleep(0.01)
        pid = int(held.read_text())
        os.kill(pid, 0)  # it lives
        return pid

"""Store and read the checkpoints of trainings in the root."""

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

from landmark_ray.data.root import Root
from landmark_ray.errors import UserError, shortened

STAGING = "_staging/train"
"""Folder of the root for files that are kept only until a stage is finished."""

History = list[dict[str, float]]
"""The measurements during a training, in order; `epoch` is the number of finished epochs."""

T = TypeVar("T")


class Checkpoints:
    """The checkpoints of one training; the last one stays in the root until the stage is finished.

    Checkpoints of Ray Train are not used, because they belong to a worker, and any worker may
    continue a group. The folder `checkpoint_00004` is written after four finished epochs, its
    `history.json` last.
    """

    def __init__(self, root: Root, name: str, on_change: Callable[[History], None]) -> None:
        """Take the root and the name of the training.

        `on_change` gets the history whenever a checkpoint that holds it was read or stored, and
        an empty one when there is no checkpoint to continue from.
        """
        self.root, self.folder, self.on_change = root, f"{STAGING}/{name}", on_change
        self.history: History = []

    @property
    def epochs(self) -> int:
        """Return the number of finished epochs."""
        return int(self.history[-1]["epoch"]) if self.history else 0

    def load(self, read: Callable[[str], T]) -> T | None:
        """Load the last checkpoint; return None if there is none.

        Args:
            read: Reads the model from the folder of the checkpoint.

        Raises:
            UserError: The checkpoint is damaged.
        """
        files = self.root.files(self.folder)
        whole = re.compile(rf"({re.escape(self.folder)}/checkpoint_\d+)/history\.json")
        folders = sorted(match[1] for name in files if (match := whole.fullmatch(name)))
        if not folders:
            self.on_change([])
            return None
        with tempfile.TemporaryDirectory() as scratch:
            try:
                history = json.loads(self.root.read(f"{folders[-1]}/history.json"))
                self.history = [{**entry, "epoch": int(entry["epoch"])} for entry in history]
                for name in files:
                    if name.startswith(f"{folders[-1]}/"):
                        Path(scratch, Path(name).name).write_bytes(self.root.read(name))
                model = read(scratch)
            except (ValueError, KeyError, TypeError, OSError, BadZipFile) as error:
                raise UserError(
                    f"the checkpoint {self.root.shown}/{folders[-1]} is damaged "
                    f"({shortened(error)}): run its stage with --redo"
                ) from None
        self.on_change(self.history)
        return model

    def save(self, figures: dict[str, float], write: Callable[[str], None]) -> None:
        """Add measurements to the history, and store a checkpoint; delete the older ones.

        Args:
            figures: The measurements, with `epoch`.
            write: Writes the model into a folder.
        """
        before = self.root.files(self.folder)
        self.history.append(figures)
        folder = f"{self.folder}/checkpoint_{self.epochs:05d}"
        with tempfile.TemporaryDirectory() as scratch:
            write(scratch)
            for file in sorted(Path(scratch).iterdir()):
                self.root.write(f"{folder}/{file.name}", file.read_bytes())
        self.root.write_json(f"{folder}/history.json", self.history)
        self.on_change(self.history)
        self.root.delete(*sorted({name.rpartition("/")[0] for name in before} - {folder}))

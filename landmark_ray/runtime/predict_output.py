"""The output of jobs/predict.py: a csv and, beside it, a folder of answers with a note.

The note `NAME.parquet/_identity.json` is written first. It says which photos, bundle and options
the answers belong to, and it holds the checksum of the csv. A file that is not noted belongs to
another program, and is never overwritten.
"""

import re
from typing import Any

from landmark_ray.data import deletion
from landmark_ray.data.root import Root
from landmark_ray.data.store import split_uri
from landmark_ray.errors import UserError
from landmark_ray.runtime.receipts import check_file, checksum

IDENTITY = "_identity.json"
_FORM = re.compile(r"_identity\.json|bucket=0/shard-\d{5,}\.parquet")


class Submission:
    """The csv of a prediction, and the folder of its answers.

    Attributes:
        root: The folder that holds both.
        name: The name of the csv in this folder.
        answers: The name of the folder of answers in it.
    """

    def __init__(self, output: str, identity: dict[str, Any]) -> None:
        """Write the note of the answers.

        Args:
            output: The path or URI of the csv.
            identity: All that the answers depend on. Answers of another identity are refused.

        Raises:
            UserError: `output` does not end in .csv, or another file is there; nothing was
                changed.
        """
        if not output.endswith(".csv"):
            raise UserError(f"--output: {output} must end in .csv")
        folder, self.name = split_uri(output)
        self.root = Root(folder)
        self.answers = f"{self.name.removesuffix('.csv')}.parquet"
        self._existing = self._check(identity)
        self._identity = identity
        self._note(self._existing)

    @property
    def shown(self) -> str:
        """Return the address of the csv without passwords."""
        return f"{self.root.shown}/{self.name}"

    def _note(self, *sums: str | None) -> None:
        note = {**self._identity, "csv": [value for value in sums if value]}
        self.root.write_json(f"{self.answers}/{IDENTITY}", note)

    def _check(self, now: dict[str, Any]) -> str | None:
        """Return the checksum of the csv of an earlier run, or None if there is no csv."""
        found = deletion.list_entries(self.root, self.answers)
        note = f"{self.answers}/{IDENTITY}"
        noted = deletion.Entry(note, True) in found
        strange = deletion.foreign_entries(found, self._ours if noted else lambda _: False)
        if strange:
            raise UserError(
                f"--output: {self.root.shown}/{self.answers} holds what jobs/predict.py did not "
                f"write: {deletion.summarise(strange)}. Nothing was touched: choose another "
                "--output, or move it elsewhere"
            )
        was = self.root.read_json(note) if noted else {}
        if not isinstance(was, dict):
            raise UserError(f"{self.root.uri}/{note} is damaged: choose another --output")
        if noted and (differ := [k for k, v in now.items() if was.get(k) != v]):
            difference = "; ".join(f"{k} {was.get(k)}, now {now[k]}" for k in differ)
            raise UserError(
                f"{self.root.uri}/{self.answers} holds answers to something else ({difference}): "
                f"delete it with {self.name}, or choose another --output"
            )
        if noted and "csv" not in was and deletion.list_entries(self.root, self.name):
            was["csv"] = [checksum(self.root.read(self.name))]  # an older version noted none
        return check_file(self.root, self.name, was.get("csv", []), "--output: ")

    def _ours(self, name: str) -> bool:
        return _FORM.fullmatch(name.removeprefix(f"{self.answers}/")) is not None

    def write(self, text: str) -> None:
        """Write the csv.

        Raises:
            UserError: Another program has written or changed it since this object was made.
        """
        deletion.delete_partial_files(self.root, self.answers)
        data = text.encode()
        known = [self._existing] if self._existing else []
        self._note(check_file(self.root, self.name, known, "--output: "), checksum(data))
        self.root.write(self.name, data)

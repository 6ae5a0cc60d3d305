"""Where jobs/predict.py writes: a csv, and beside it a folder of answers, whose note it is.

The note `NAME.parquet/_identity.json` is written before all else: it says what the answers are to,
and has the checksum of the csv. What is there without being noted is another's, and stays.
"""

import re
from typing import Any

from landmark_ray.data import deletion
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.runtime.receipts import check_file, checksum

IDENTITY = "_identity.json"
_FORM = re.compile(r"_identity\.json|bucket=0/shard-\d{5,}\.parquet")


class Submission:
    """The csv that a person named, and the folder of answers.

    Raises:
        UserError: the name has another ending, or something else is there; nothing was touched.
    """

    def __init__(self, output: str, identity: dict[str, Any]) -> None:
        """Note what the answers are to.

        Args:
            output: name of the csv.
            identity: what makes answers differ; such of another one are never mixed in.
        """
        if not output.endswith(".csv"):
            raise UserError(f"--output: {output} must end in .csv")
        folder, _, self.name = output.rpartition("/")
        self.tables = Root(folder or ".")
        self.answers = f"{self.name.removesuffix('.csv')}.parquet"
        self._there = self._check(identity)
        self._identity = identity
        self._note(self._there)

    @property
    def shown(self) -> str:
        """The csv's name for people."""
        return f"{self.tables.shown}/{self.name}"

    def _note(self, *sums: str | None) -> None:
        note = {**self._identity, "csv": [each for each in sums if each]}
        self.tables.write_json(f"{self.answers}/{IDENTITY}", note)

    def _check(self, now: dict[str, Any]) -> str | None:
        """The checksum of the csv that is there."""
        found = deletion.list_entries(self.tables, self.answers)
        note = f"{self.answers}/{IDENTITY}"
        noted = deletion.Entry(note, True) in found
        strange = deletion.foreign_entries(found, self._ours if noted else lambda _: False)
        if strange:
            raise UserError(
                f"--output: {self.tables.shown}/{self.answers} holds what jobs/predict.py did not "
                f"write: {deletion.summarise(strange)}. Nothing was touched: choose another "
                "--output, or move it elsewhere"
            )
        was = self.tables.read_json(note) if noted else {}
        if not isinstance(was, dict):
            raise UserError(f"{self.tables.uri}/{note} is damaged: choose another --output")
        if noted and (differ := [k for k, v in now.items() if was.get(k) != v]):
            words = "; ".join(f"{k} {was.get(k)}, now {now[k]}" for k in differ)
            raise UserError(
                f"{self.tables.uri}/{self.answers} holds answers to something else ({words}): "
                f"delete it with {self.name}, or choose another --output"
            )
        if noted and "csv" not in was and deletion.list_entries(self.tables, self.name):
            was["csv"] = [checksum(self.tables.read(self.name))]  # older code noted none
        return check_file(self.tables, self.name, was.get("csv", []), "--output: ")

    def _ours(self, name: str) -> bool:
        return _FORM.fullmatch(name.removeprefix(f"{self.answers}/")) is not None

    def write(self, text: str) -> None:
        """Write the csv, unless somebody has written one since.

        Raises:
            UserError: somebody has.
        """
        deletion.delete_partial_files(self.tables, self.answers)
        data = text.encode()
        known = [each for each in (self._there,) if each]
        self._note(check_file(self.tables, self.name, known, "--output: "), checksum(data))
        self.tables.write(self.name, data)

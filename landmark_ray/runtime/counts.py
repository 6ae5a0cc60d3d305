"""Count what goes into a stage, what comes out, and why the rest does not."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.errors import UserError

_JSON_KEYS = {"reject_reasons": "why", "counters": "facts"}
"""Attribute of StageCounts -> its key in JSON, where they differ: stored files have these keys."""


@dataclass
class StageCounts:
    """Counts of a stage or of a part of it. Parts add up, because no class is in two parts."""

    images_in: int = 0
    images_out: int = 0
    classes_in: int = 0
    classes_out: int = 0
    reject_reasons: Counter[str] = field(default_factory=Counter)
    """Reason -> number of images that did not come out; the sum is images_in - images_out."""
    counters: Counter[str] = field(default_factory=Counter)
    """Name -> another count that is worth showing, such as pairs or features."""
    notes: list[str] = field(default_factory=list)
    """Warnings for people, one line each."""
    task_seconds: float = 0.0
    """Seconds that tasks worked, each on its unit; the start of workers and of Ray is no part."""

    def add(self, other: "StageCounts") -> None:
        """Add the counts of another part to this one."""
        self.images_in += other.images_in
        self.images_out += other.images_out
        self.classes_in += other.classes_in
        self.classes_out += other.classes_out
        self.reject_reasons += other.reject_reasons
        self.counters += other.counters
        self.notes += other.notes
        self.task_seconds += other.task_seconds

    @classmethod
    def between(cls, before: pa.Table, after: pa.Table, rejects: pa.Table) -> "StageCounts":
        """Count the images and classes of two tables with `landmark_id`, and reasons of rejects.

        Args:
            before: A row for each image that went in.
            after: A row for each image that came out.
            rejects: A row for each image that did not, with its `reason`.
        """
        classes = (pc.count_distinct(table["landmark_id"]).as_py() for table in (before, after))
        counts = cls(before.num_rows, after.num_rows, *classes)
        counts.reject_reasons.update(map(reason_kind, rejects["reason"].to_pylist()))
        return counts

    @classmethod
    def total(cls, reports: Iterable[str | bytes]) -> "StageCounts":
        """Add up parts, each in the form that `to_json` returns."""
        counts = cls()
        for report in reports:
            counts.add(cls.from_json(report))
        return counts

    def to_json(self) -> str:
        """Return the counts as one line of JSON."""
        return json.dumps({_JSON_KEYS.get(name, name): value for name, value in vars(self).items()})

    @classmethod
    def from_json(cls, text: str | bytes) -> "StageCounts":
        """Read the counts from the text that `to_json` returned.

        Raises:
            UserError: The text is damaged.
        """
        try:
            values = json.loads(text)
            values |= {name: Counter(values.pop(key)) for name, key in _JSON_KEYS.items()}
            return cls(**values)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"the counts in the file of a table are damaged ({text[:80]!r}): run the stage "
                "that writes the table with --redo"
            ) from None


def reason_kind(reason: str) -> str:
    """Return the kind of a reject's reason: the text before its colon."""
    return reason.partition(":")[0]

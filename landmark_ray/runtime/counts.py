"""What went into a stage, what came out, and why the rest did not."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.errors import UserError

_JSON_KEYS = {"reject_reasons": "why", "counters": "facts"}
"""Attribute -> its key in the JSON of ledgers and of tables' files, where the two differ."""


@dataclass
class StageCounts:
    """Counts of a stage or of a part of it; parts add up, since no class is in two parts."""

    images_in: int = 0
    images_out: int = 0
    classes_in: int = 0
    classes_out: int = 0
    reject_reasons: Counter[str] = field(default_factory=Counter)
    """reason -> images that did not come out; sums to images_in - images_out."""
    counters: Counter[str] = field(default_factory=Counter)
    """Other counts worth showing, such as pairs or features."""
    notes: list[str] = field(default_factory=list)
    """Lines for people: warnings that ended nothing."""

    def add(self, other: "StageCounts") -> None:
        """Add the counts of another part."""
        self.images_in += other.images_in
        self.images_out += other.images_out
        self.classes_in += other.classes_in
        self.classes_out += other.classes_out
        self.reject_reasons += other.reject_reasons
        self.counters += other.counters
        self.notes += other.notes

    @classmethod
    def between(cls, before: pa.Table, after: pa.Table, rejects: pa.Table) -> "StageCounts":
        """Count images and classes of two tables with `landmark_id`, and the rejects' reasons."""
        classes = (pc.count_distinct(table["landmark_id"]).as_py() for table in (before, after))
        counts = cls(before.num_rows, after.num_rows, *classes)
        counts.reject_reasons.update(map(reason_kind, rejects["reason"].to_pylist()))
        return counts

    @classmethod
    def total(cls, reports: Iterable[str | bytes]) -> "StageCounts":
        """The sum of parts, each as `to_json` gives it."""
        counts = cls()
        for report in reports:
            counts.add(cls.from_json(report))
        return counts

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps({_JSON_KEYS.get(name, name): value for name, value in vars(self).items()})

    @classmethod
    def from_json(cls, text: str | bytes) -> "StageCounts":
        """The reverse of `to_json`.

        Raises:
            UserError: the text is none of it.
        """
        try:
            values = json.loads(text)
            values |= {name: Counter(values.pop(key)) for name, key in _JSON_KEYS.items()}
            return cls(**values)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"a table's file has a damaged report ({text[:80]!r}): run its stage with --redo"
            ) from None


def reason_kind(reason: str) -> str:
    """The kind of a reject's reason: what stands before its colon."""
    return reason.partition(":")[0]

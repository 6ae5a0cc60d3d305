"""Record which stages have run in a root, with which options and inputs: `_ledger/STAGE.json`.

The fingerprint of a stage is a hash of its options and of the fingerprints of the stages that it
reads, back to the source. Therefore, tables of two configurations are never mixed.
"""

import hashlib
import json
import uuid
from collections.abc import Collection, Sequence
from typing import Any

from landmark_ray.config import STAGES
from landmark_ray.data import deletion
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.runtime.counts import StageCounts

Record = dict[str, Any]
"""The record of a stage: state, identity (its options), inputs, fingerprint, seconds, run (a random
name, another one after each --redo) and, when it is finished, funnel (its counts)."""

_KINDS = {
    "state": str,
    "fingerprint": str,
    "identity": dict,
    "inputs": dict,
    "seconds": float | int,
}
"""Key of a record -> the type of its value."""

_TABLES = "tables of "
_EMPTY: Record = {"fingerprint": "", "identity": {}, "inputs": {}, "seconds": 0.0}
REDO = "_ledger/redo.json"
"""The note of a `--redo` whose stages are not finished."""
DELETING = "deleting"
"""The state of a stage whose tables are being deleted."""


def _name(stage: str) -> str:
    return f"_ledger/{stage}.json"


def read(root: Root, stage: str) -> Record | None:
    """Read the record of a stage; None if it has none.

    Raises:
        UserError: The record is damaged.
    """
    try:
        data = root.read(_name(stage))
    except FileNotFoundError:
        if not (root.local and deletion.list_entries(root, _name(stage))):
            return None
        data = b""  # a link whose target is missing
    if record := _record(data):
        return record
    raise UserError(
        f"{root.uri}/{_name(stage)} is damaged: add --redo {stage} to delete the tables of {stage} "
        "and of the stages after it, and make them again"
    )


def untouched(root: Root, before: str, why: str) -> StageCounts:
    """Return the counts of a stage that has nothing to do: all that an earlier stage left stays.

    Args:
        root: The root.
        before: The earlier stage, which is finished.
        why: The counter of all its images, which says why.
    """
    record = read(root, before)
    left = record["funnel"] if record else {}
    images, classes = left["images_out"], left["classes_out"]
    counts = StageCounts(images, images, classes, classes)
    counts.counters[why] = images
    return counts


def _record(data: bytes) -> Record | None:
    """Return the record that a file holds, or None if it holds something else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(value, dict) and all(isinstance(value.get(n), k) for n, k in _KINDS.items())
    return value if whole else None


def read_all(root: Root) -> dict[str, Record]:
    """Read the records of all stages that have one; their folders belong to this root.

    A damaged record is returned with an empty state, provided that another one is intact.

    Returns:
        Stage -> its record.

    Raises:
        UserError: All records are damaged, so that the files may belong to another program.
    """
    is_file = {entry.name: entry.is_file for entry in deletion.list_entries(root, "_ledger")}
    records = {
        stage: _record(root.read(name)) if is_file[name] else None
        for stage in STAGES
        if (name := _name(stage)) in is_file
    }
    if records and not any(records.values()):
        raise UserError(
            f"{root.uri}/{_name(next(iter(records)))} is damaged, or is not the record of a run: "
            "choose another --root, or move the file elsewhere"
        )
    return {stage: record or {"state": ""} for stage, record in records.items()}


def mark_deleting(root: Root, stage: str) -> None:
    """Note that the tables of a stage are being deleted, and therefore may be incomplete."""
    root.write_json(_name(stage), {**_EMPTY, "state": DELETING})


def require_finished(root: Root, stage: str, config_key: Record) -> Record:
    """Return the record of a stage whose tables another stage needs.

    Raises:
        UserError: The stage is not finished, or it ran with other options.
    """
    record = read(root, stage)
    if record is None or record["state"] != "finished":
        raise UserError(f"{root.uri}: stage {stage} is not finished; run jobs/{stage}.py first")
    if record["identity"] != config_key:
        raise _mixed_error(root, stage, record["identity"], config_key)
    return record


def table_inputs(fingerprints: dict[str, str]) -> Record:
    """Return the part of a record's inputs that names the stages that were read.

    Args:
        fingerprints: Stage that is read -> its fingerprint.
    """
    return {f"{_TABLES}{stage}": value for stage, value in fingerprints.items()}


def check_reads(root: Root, stage: str, record: Record, reads: Sequence[str]) -> None:
    """Refuse tables that another version of this code made from the tables of other stages.

    Args:
        root: The root.
        stage: The stage that wrote the tables.
        record: Its record.
        reads: The stages that it reads in this version.

    Raises:
        UserError: The record names other stages.
    """
    was = {name.removeprefix(_TABLES) for name in record["inputs"] if name.startswith(_TABLES)}
    if was != set(reads):
        raise UserError(
            f"{root.shown} was made by another version of this code, in which stage {stage} reads "
            f"the tables of {_listed(was)}; in this version it reads those of {_listed(reads)}. "
            f"Add --redo {stage} to delete the tables of {stage} and of the stages after it, and "
            "make them again, or choose another --root"
        )


def _listed(stages: Collection[str]) -> str:
    return ", ".join(sorted(stages, key=STAGES.index)) or "none"


def begin(root: Root, stage: str, config_key: Record, inputs: Record) -> Record:
    """Write the record of a stage that begins, or return that of an earlier run with equal options.

    Args:
        root: The root.
        stage: The stage.
        config_key: Its options, by name: `Config.config_key`.
        inputs: What it reads, by name, as checksums and fingerprints.

    Raises:
        UserError: The root holds tables of other options or inputs; the message names them.
    """
    text = json.dumps([stage, config_key, inputs], sort_keys=True)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
    record = read(root, stage)
    if record is None:
        record = {
            "state": "running",
            "fingerprint": fingerprint,
            "identity": config_key,
            "inputs": inputs,
            "seconds": 0.0,
            "run": uuid.uuid4().hex,
        }
        root.write_json(_name(stage), record)
    elif record["fingerprint"] != fingerprint:
        raise _mixed_error(root, stage, record["identity"] | record["inputs"], config_key | inputs)
    return record


def run_of(root: Root, stage: str) -> str:
    """Return the name of the run that writes the tables of a stage; empty if it has no record."""
    record = read(root, stage)
    return str(record.get("run", "")) if record else ""


def check_run(root: Root, stage: str, run: str) -> None:
    """Make sure that the tables of a stage are still those of a run.

    Raises:
        UserError: Another job has deleted them.
    """
    if run_of(root, stage) != run:
        raise UserError(
            f"{root.shown}: another job has deleted the tables of stage {stage} (--redo) while "
            "this one made them: this one ends; let one job at a time work on a root"
        )


def finish(root: Root, stage: str, record: Record, counts: StageCounts, seconds: float) -> None:
    """Mark a stage as finished, with its counts and the seconds that this run took.

    Raises:
        UserError: Another job has deleted its tables meanwhile.
    """
    check_run(root, stage, record.get("run", ""))
    record |= {
        "state": "finished",
        "seconds": record["seconds"] + seconds,
        "funnel": json.loads(counts.to_json()),
    }
    root.write_json(_name(stage), record)


def redo_begun(root: Root) -> str | None:
    """Return what `begin_redo` noted of the last `--redo`, if that run has not finished."""
    note = root.read_json(REDO)
    return note.get("asked") if isinstance(note, dict) else None


def begin_redo(root: Root, asked: str, stages: Sequence[str]) -> None:
    """Note that all tables that a `--redo` asked for are deleted.

    Args:
        root: The root.
        asked: A hash of the run's stages, options and inputs.
        stages: The stages that it makes anew.
    """
    root.write_json(REDO, {"asked": asked, "stages": list(stages)})


def end_redo(root: Root, *, failed: bool = False) -> None:
    """Delete the note of `begin_redo` if its stages are finished, or if they `failed` for good."""
    note = root.read_json(REDO)
    if note is None:
        return
    records = [read(root, stage) for stage in note["stages"]]
    if failed or all(record and record["state"] == "finished" for record in records):
        root.delete(REDO)


def forget(root: Root, stage: str) -> None:
    """Delete the record of a stage, whose tables must have been deleted before."""
    root.delete(_name(stage))


def _mixed_error(root: Root, stage: str, was: Record, now: Record) -> UserError:
    """Return the error for a root whose tables were made with other options or inputs."""
    parts = [
        f"{name} = {json.dumps(was.get(name))}, now {json.dumps(now.get(name))}"
        for name in sorted(was | now)
        if was.get(name) != now.get(name)
    ]
    difference = "; ".join(parts[:4]) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")
    return UserError(
        f"{root.uri} holds tables of another configuration: stage {stage} was run with "
        f"{difference}. Return to the old options, choose another --root, or add --redo {stage} to "
        f"delete the tables of {stage} and of the stages after it, and make them again"
    )

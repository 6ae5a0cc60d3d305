"""What has been run under a root, with which options and inputs: `<root>/_ledger/STAGE.json`.

A stage's fingerprint is a hash of its options and of the fingerprints of the stages that it reads,
back to the source, so that tables of two configurations are never mixed.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from typing import Any

from landmark_ray.config import STAGES
from landmark_ray.data import deletion
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.runtime.counts import StageCounts

Record = dict[str, Any]
_KINDS = {
    "state": str,
    "fingerprint": str,
    "identity": dict,
    "inputs": dict,
    "seconds": float | int,
}


_TABLES = "tables of "
_EMPTY: Record = {"fingerprint": "", "identity": {}, "inputs": {}, "seconds": 0.0}
GOING = "deleting"
"""State of a stage whose tables are being deleted."""


def _name(stage: str) -> str:
    return f"_ledger/{stage}.json"


def read(tables: Root, stage: str) -> Record | None:
    """The record of a stage: state, identity, inputs, fingerprint, funnel, seconds.

    Raises:
        UserError: it is damaged.
    """
    try:
        data = tables.read(_name(stage))
    except FileNotFoundError:
        if not (tables.local and deletion.list_entries(tables, _name(stage))):
            return None
        data = b""  # a link to nowhere
    if record := _record(data):
        return record
    raise UserError(
        f"{tables.uri}/{_name(stage)} is damaged: --redo {stage} makes the tables of {stage} "
        "and of the stages after it anew"
    )


def _record(data: bytes) -> Record | None:
    """What a file says, if it is a record."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(value, dict) and all(isinstance(value.get(n), k) for n, k in _KINDS.items())
    return value if whole else None


def begun(tables: Root) -> dict[str, Record]:
    """Stage -> its record, of all that have one: what these stages wrote is the root's own.

    A damaged record counts, with an empty state, where another one is whole.

    Raises:
        UserError: none is whole, so that they may be anybody's files.
    """
    there = {entry.name: entry.is_file for entry in deletion.list_entries(tables, "_ledger")}
    found = {
        stage: _record(tables.read(name)) if there[name] else None
        for stage in STAGES
        if (name := _name(stage)) in there
    }
    if found and not any(found.values()):
        raise UserError(
            f"{tables.uri}/{_name(next(iter(found)))} is damaged, or no record of a run: choose "
            "another --root, or move it elsewhere"
        )
    return {stage: record or {"state": ""} for stage, record in found.items()}


def doom(tables: Root, stage: str) -> None:
    """Note that a stage's tables are being deleted: until its record goes, they are not whole."""
    tables.write_json(_name(stage), {**_EMPTY, "state": GOING})


def finished(tables: Root, stage: str, config_key: Record) -> Record:
    """The record of a stage whose tables another one needs.

    Raises:
        UserError: it hasn't been finished, or was run with other options.
    """
    record = read(tables, stage)
    if record is None or record["state"] != "finished":
        raise UserError(f"{tables.uri}: stage {stage} is not finished; run jobs/{stage}.py first")
    if record["identity"] != config_key:
        raise _mixed(tables, stage, record["identity"], config_key)
    return record


def table_inputs(fingerprints: dict[str, str]) -> Record:
    """What a record says of the stages that its own one reads: stage -> fingerprint."""
    return {f"{_TABLES}{stage}": value for stage, value in fingerprints.items()}


def same_order(tables: Root, stage: str, record: Record, reads: Sequence[str]) -> None:
    """Refuse tables that another version of this code made from the tables of other stages.

    Args:
        tables: the root.
        stage: whose tables they are.
        record: of the stage.
        reads: the stages that it reads in this version.

    Raises:
        UserError: names both orders, and what to do.
    """
    was = {name.removeprefix(_TABLES) for name in record["inputs"] if name.startswith(_TABLES)}
    if was != set(reads):
        raise UserError(
            f"{tables.shown} was made by another version of this code, whose stage {stage} reads "
            f"the tables of {_listed(was)}; here it reads those of {_listed(reads)}. Add --redo "
            f"{stage} to delete the tables of {stage} and of the stages after it, and make them "
            "anew, or choose another --root"
        )


def _listed(stages: Collection[str]) -> str:
    return ", ".join(sorted(stages, key=STAGES.index)) or "none"


def begin(tables: Root, stage: str, config_key: Record, inputs: Record) -> Record:
    """Open a stage's record, or find the one of an earlier run with the same options and inputs.

    Raises:
        UserError: the root holds tables of another configuration or input; names the difference.
    """
    text = json.dumps([stage, config_key, inputs], sort_keys=True)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
    record = read(tables, stage)
    if record is None:
        record = {
            "state": "running",
            "fingerprint": fingerprint,
            "identity": config_key,
            "inputs": inputs,
            "seconds": 0.0,
        }
        tables.write_json(_name(stage), record)
    elif record["fingerprint"] != fingerprint:
        raise _mixed(tables, stage, record["identity"] | record["inputs"], config_key | inputs)
    return record


def finish(tables: Root, stage: str, record: Record, funnel: StageCounts, seconds: float) -> None:
    """Mark a stage as finished."""
    record |= {
        "state": "finished",
        "seconds": record["seconds"] + seconds,
        "funnel": json.loads(funnel.to_json()),
    }
    tables.write_json(_name(stage), record)


def forget(tables: Root, stage: str) -> None:
    """Delete a stage's record; its tables must be gone."""
    tables.delete(_name(stage))


def _mixed(tables: Root, stage: str, was: Record, now: Record) -> UserError:
    parts = [
        f"{name} = {json.dumps(was.get(name))}, now {json.dumps(now.get(name))}"
        for name in sorted(was | now)
        if was.get(name) != now.get(name)
    ]
    difference = "; ".join(parts[:4]) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")
    return UserError(
        f"{tables.uri} holds tables of another configuration: stage {stage} was run with "
        f"{difference}. Go back to that, choose another --root, or add --redo {stage} to delete "
        f"the tables of {stage} and of the stages after it, and make them anew"
    )

"""Decide which files of a root belong to a run, by the records of its stages.

A stage without a record must find its folders empty. With a record, files in its folders are
deleted, provided that their names have the form that `data/layout.py` defines. The record is
deleted last, so that a run that is killed while it deletes can continue.
"""

import os
from collections.abc import Collection, Mapping, Sequence

from landmark_ray.config import STAGES
from landmark_ray.data import deletion, layout
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.runtime import ledger

StageFolders = Mapping[str, Collection[str]]
"""Stage -> the folders that it writes, relative to the root, scratch included."""


def check_separate(source: Store, root: Store) -> None:
    """Make sure that neither of two folders lies in the other.

    Raises:
        UserError: One does, or they are the same; nothing was changed.
    """
    if type(source.fs) is not type(root.fs):
        return
    above = [_identities(folder) for folder in (source, root)]
    (a, *over_source), (b, *over_root) = above
    if a == b:
        how = "is also --root"
    elif b in over_source:
        how = f"lies in --root {root.shown}"
    elif a in over_root:
        how = f"holds --root {root.shown}"
    else:
        return
    raise UserError(
        f"--source {source.shown} {how}: tables and photos would be mixed; give --root a folder "
        "of its own, outside the source. Nothing was touched"
    )


def _identities(folder: Store) -> list[tuple[int, int] | str]:
    """Identify a folder and all folders above it, however its path is spelled.

    Returns:
        (device, inode) of each folder, from the inside out; the path of one that does not exist.
    """
    path, identities = folder.real_path, []
    while True:
        try:
            status = os.stat(path) if folder.local else None
        except OSError:  # the folder does not exist yet
            status = None
        identities.append((status.st_dev, status.st_ino) if status else path)
        above = os.path.dirname(path)
        if above == path or not above:
            return identities
        path = above


def stages_to_delete(root: Root, redo: str | None) -> list[str]:
    """List the stages whose tables must be deleted, the last stage first.

    These are `redo` and the stages after it, and those that a killed run began to delete.
    """
    records = ledger.read_all(root)
    later = STAGES[STAGES.index(redo) :] if redo else ()
    stages = [s for s in records if s in later or records[s]["state"] == ledger.DELETING]
    return sorted(stages, key=STAGES.index, reverse=True)


def check(root: Root, stages: Sequence[str], redo: str | None, folders: StageFolders) -> list[str]:
    """Make sure that a run deletes and overwrites only files that runs of this root wrote.

    Args:
        root: The root.
        stages: The stages to run.
        redo: The first stage whose tables are to be deleted, if any.
        folders: The folders of every stage.

    Returns:
        The stages that will run, because they are not finished.

    Raises:
        UserError: A file of another origin is in the way; nothing was changed.
    """
    records, deleted = ledger.read_all(root), stages_to_delete(root, redo)
    deletion.check_ours(root, *(p for stage in deleted for p in folders[stage]), ours=layout.ours)
    todo = [s for s in stages if s in deleted or records.get(s, {}).get("state") != "finished"]
    for stage in todo:
        if stage not in records:
            check_empty(root, stage, records, folders)
        elif stage not in deleted:
            scratch = (p for p in folders[stage] if p.startswith("_"))
            deletion.check_ours(root, *scratch, ours=layout.ours)
    return todo


def check_empty(root: Root, stage: str, recorded: Collection[str], folders: StageFolders) -> None:
    """Make sure that the folders of a stage that has no record are empty.

    Args:
        root: The root.
        stage: The stage without a record.
        recorded: The stages that have a record; they share some scratch folders with it.
        folders: The folders of every stage.

    Raises:
        UserError: A folder holds files; nothing was changed.
    """
    shared = {folder for other in recorded for folder in folders[other]}
    for folder in folders[stage]:
        if folder in shared:
            deletion.check_ours(root, folder, ours=layout.ours)
        elif (found := deletion.list_entries(root, folder)) and not _links_to_empty(root, folder):
            raise UserError(
                f"{root.shown}/{folder} holds what no run of stage {stage} in this root wrote: "
                f"{deletion.summarise(found)}. Nothing was touched: choose another --root, or move "
                "it elsewhere"
            )


def _links_to_empty(root: Root, folder: str) -> bool:
    """Return whether the folder of a table is a link to an empty folder, say on another disk."""
    path = root.path_of(folder)
    link = root.local and os.path.islink(path) and os.path.isdir(path)
    return link and not folder.startswith("_") and not deletion.list_entries(Store(path), "")


def delete_stages(root: Root, redo: str | None, folders: StageFolders) -> None:
    """Delete the tables of `redo` and of all stages after it, then their records.

    Raises:
        UserError: A folder holds a file that no run of this root wrote; nothing was deleted.
    """
    stages = stages_to_delete(root, redo)
    deletion.check_ours(root, *(p for stage in stages for p in folders[stage]), ours=layout.ours)
    for stage in stages:
        ledger.mark_deleting(root, stage)
    for stage in stages:
        root.delete(*folders[stage])
        ledger.forget(root, stage)

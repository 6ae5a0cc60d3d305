"""What of a root belongs to a run: a stage's record says that it has begun to write.

A stage without a record must find its folders empty. With one, what lies there is deleted only if
its names have the form of what the stage writes (`places`), and the record goes last: a run that is
killed while it deletes goes on with that.
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
"""Stage -> the folders of a root that it writes, scratch included."""


def check_separate(source: Store, root: Store) -> None:
    """Make sure that neither lies in the other.

    Raises:
        UserError: they do; nothing was touched.
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
        f"--source {source.shown} {how}: the run's tables and the photos would mix; give --root a "
        "folder of its own, beside the source. Nothing was touched"
    )


def _identities(folder: Store) -> list[tuple[int, int] | str]:
    """Of a folder and all above it: what tells it from others, however it is written."""
    path, found = folder.place, []
    while True:
        try:
            status = os.stat(path) if folder.local else None
        except OSError:  # it isn't there yet
            status = None
        found.append((status.st_dev, status.st_ino) if status else path)
        above = os.path.dirname(path)
        if above == path or not above:
            return found
        path = above


def stages_to_delete(root: Root, redo: str | None) -> list[str]:
    """The stages whose tables are to go, the last first: also those of a killed run."""
    records = ledger.read_all(root)
    later = STAGES[STAGES.index(redo) :] if redo else ()
    going = [s for s in records if s in later or records[s]["state"] == ledger.DELETING]
    return sorted(going, key=STAGES.index, reverse=True)


def check(root: Root, stages: Sequence[str], redo: str | None, folders: StageFolders) -> list[str]:
    """Make sure that a run deletes and writes over nothing but its own.

    Args:
        root: the root.
        stages: to be run.
        redo: the first one whose tables are to go, if any.
        folders: every stage's folders.

    Returns:
        The stages that will run: those that aren't finished.

    Raises:
        UserError: it would; says what, where, and what to do. Nothing was touched.
    """
    records, going = ledger.read_all(root), stages_to_delete(root, redo)
    deletion.checked(root, *(p for stage in going for p in folders[stage]), ours=layout.ours)
    todo = [s for s in stages if s in going or records.get(s, {}).get("state") != "finished"]
    for stage in todo:
        if stage not in records:
            check_empty(root, stage, records, folders)
        elif stage not in going:
            scratch = (p for p in folders[stage] if p.startswith("_"))
            deletion.checked(root, *scratch, ours=layout.ours)
    return todo


def check_empty(root: Root, stage: str, begun: Collection[str], folders: StageFolders) -> None:
    """Make sure that a stage that has no record finds nothing where it will write.

    Args:
        root: the root.
        stage: which.
        begun: the stages that have a record; some scratch is theirs, too.
        folders: every stage's folders.

    Raises:
        UserError: it does.
    """
    shared = {place for other in begun for place in folders[other]}
    for place in folders[stage]:
        if place in shared:
            deletion.checked(root, place, ours=layout.ours)
        elif (found := deletion.lying(root, place)) and not _leads_to_nothing(root, place):
            raise UserError(
                f"{root.shown}/{place} holds what no run of stage {stage} in this root wrote: "
                f"{deletion.told(found)}. Nothing was touched: choose another --root, or move it "
                "elsewhere"
            )


def _leads_to_nothing(root: Root, place: str) -> bool:
    """Whether a table is a link to an empty folder, as one on another disk."""
    path = root.at(place)
    link = root.local and os.path.islink(path) and os.path.isdir(path)
    return link and not place.startswith("_") and not deletion.lying(Store(path), "")


def delete_stages(root: Root, redo: str | None, folders: StageFolders) -> None:
    """Delete the tables of a stage and of all that come after it, then their records.

    Raises:
        UserError: something there isn't ours; nothing was deleted.
    """
    going = stages_to_delete(root, redo)
    deletion.checked(root, *(p for stage in going for p in folders[stage]), ours=layout.ours)
    for stage in going:
        ledger.mark_deleting(root, stage)
    for stage in going:
        root.delete(*folders[stage])
        ledger.forget(root, stage)

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

Places = Mapping[str, Collection[str]]
"""Stage -> the folders of a root that it writes, scratch included."""


def apart(source: Store, root: Store) -> None:
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
    path, found = folder.real_path, []
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


def doomed(tables: Root, redo: str | None) -> list[str]:
    """The stages whose tables are to go, the last first: also those that a killed run doomed."""
    records = ledger.begun(tables)
    later = STAGES[STAGES.index(redo) :] if redo else ()
    going = [s for s in records if s in later or records[s]["state"] == ledger.GOING]
    return sorted(going, key=STAGES.index, reverse=True)


def check(tables: Root, stages: Sequence[str], redo: str | None, of: Places) -> list[str]:
    """Make sure that a run deletes and writes over nothing but its own.

    Args:
        tables: the root.
        stages: to be run.
        redo: the first one whose tables are to go, if any.
        of: every stage's folders.

    Returns:
        The stages that will run: those that aren't finished.

    Raises:
        UserError: it would; says what, where, and what to do. Nothing was touched.
    """
    records, going = ledger.begun(tables), doomed(tables, redo)
    deletion.check_ours(tables, *(p for stage in going for p in of[stage]), ours=layout.ours)
    todo = [s for s in stages if s in going or records.get(s, {}).get("state") != "finished"]
    for stage in todo:
        if stage not in records:
            vacant(tables, stage, records, of)
        elif stage not in going:
            scratch = (p for p in of[stage] if p.startswith("_"))
            deletion.check_ours(tables, *scratch, ours=layout.ours)
    return todo


def vacant(tables: Root, stage: str, begun: Collection[str], of: Places) -> None:
    """Make sure that a stage that has no record finds nothing where it will write.

    Args:
        tables: the root.
        stage: which.
        begun: the stages that have a record; some scratch is theirs, too.
        of: every stage's folders.

    Raises:
        UserError: it does.
    """
    shared = {place for other in begun for place in of[other]}
    for place in of[stage]:
        if place in shared:
            deletion.check_ours(tables, place, ours=layout.ours)
        elif (found := deletion.list_entries(tables, place)) and not _leads_to_nothing(
            tables, place
        ):
            raise UserError(
                f"{tables.shown}/{place} holds what no run of stage {stage} in this root wrote: "
                f"{deletion.summarise(found)}. Nothing was touched: choose another --root, or move "
                "it elsewhere"
            )


def _leads_to_nothing(tables: Root, place: str) -> bool:
    """Whether a table is a link to an empty folder, as one on another disk."""
    path = tables.path_of(place)
    link = tables.local and os.path.islink(path) and os.path.isdir(path)
    return link and not place.startswith("_") and not deletion.list_entries(Store(path), "")


def clear(tables: Root, redo: str | None, of: Places) -> None:
    """Delete the tables of a stage and of all that come after it, then their records.

    Raises:
        UserError: something there isn't ours; nothing was deleted.
    """
    going = doomed(tables, redo)
    deletion.check_ours(tables, *(p for stage in going for p in of[stage]), ours=layout.ours)
    for stage in going:
        ledger.doom(tables, stage)
    for stage in going:
        tables.delete(*of[stage])
        ledger.forget(tables, stage)

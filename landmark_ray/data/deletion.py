"""The only deletion of the product: of what it wrote itself, known by its names.

All that lies at the places to delete is looked at before the first file goes. Links are not
followed, and are never ours. Folders go only when they become empty.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from landmark_ray.data.store import PART, Store
from landmark_ray.errors import UserError

Ours = Callable[[str], bool]
"""Whether a file of this name, relative to a folder, is one that the product writes there."""

REMOTE_THREADS = 16


class Entry(NamedTuple):
    """What lies in a folder: the name relative to it, and whether it's a file, no link."""

    name: str
    is_file: bool

    @property
    def shown(self) -> str:
        """The name, as it may be printed."""
        name = self.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return name if self.is_file else f"{name} (a link, or no file)"


def list_entries(folder: Store, place: str) -> list[Entry]:
    """All that lies at a place of a folder, but for folders; hidden files and links, too.

    Where a link or a file is on the way to the place, that is what lies there.
    """
    if not folder.local:
        return [Entry(name, True) for name in folder.files(place, hidden=True)]
    whole, parts = folder.path_of(place), [part for part in place.split("/") if part]
    for depth in range(1, len(parts) + 1):
        name = "/".join(parts[:depth])
        try:
            mode = os.lstat(folder.path_of(name)).st_mode
        except FileNotFoundError:
            return []
        if not stat.S_ISDIR(mode):
            return [Entry(name, stat.S_ISREG(mode))]
    found = []
    for here, folders, files in os.walk(whole, onerror=_raised):
        for name in (*files, *folders):
            path = f"{here}/{name}"
            with contextlib.suppress(FileNotFoundError):  # another worker's, gone already
                mode = os.lstat(path).st_mode
                if not stat.S_ISDIR(mode):
                    found.append(Entry(path[len(folder.path) + 1 :], stat.S_ISREG(mode)))
    return sorted(found)


def _raised(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # another worker's, gone already, or all of it
        raise error  # what can't be listed isn't empty


def foreign_entries(found: Iterable[Entry], ours: Ours) -> list[Entry]:
    """Of what lies somewhere, that which isn't ours; what a killed writer left half is."""
    return [e for e in found if not (e.is_file and (_is_part(e.name) or ours(e.name)))]


def _is_part(name: str) -> bool:
    return PART.fullmatch(name.rpartition("/")[2]) is not None


def summarise(found: list[Entry]) -> str:
    """What was found, in few words."""
    return found[0].shown + (f" and {len(found) - 1:,} more" if len(found) > 1 else "")


def check_ours(folder: Store, *places: str, ours: Ours) -> dict[str, list[Entry]]:
    """What lies at some places of a folder: all of it is ours.

    Raises:
        UserError: it isn't; says where, what and how much.
    """
    lies = {place: list_entries(folder, place) for place in places}
    for place, found in lies.items():
        if strange := foreign_entries(found, ours):
            raise UserError(
                f"{folder.shown}/{place}".rstrip("/")
                + f" holds what landmark_ray did not write: {summarise(strange)}. Nothing was touched: "
                "move it elsewhere, and the same command goes on"
            )
    return lies


def delete(folder: Store, *places: str, ours: Ours) -> None:
    """Delete what lies at some places of a folder, in their order, if all of it is ours.

    Raises:
        UserError: something isn't ours; nothing was deleted.
    """
    for place, found in check_ours(folder, *places, ours=ours).items():
        _remove(folder, [entry.name for entry in found], place)


def delete_partial_files(folder: Store, *places: str) -> None:
    """Delete what killed writers left at some places: parts of files."""
    if folder.local:
        for place in places:
            parts = [e.name for e in list_entries(folder, place) if e.is_file and _is_part(e.name)]
            _remove(folder, parts, place)


def _remove(folder: Store, names: list[str], place: str) -> None:
    """The one place where files go; then the folders that they leave empty, but none above."""

    def remove(name: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # another worker was quicker
            folder.call(os.unlink if folder.local else folder.fs.rm_file, name)

    if not folder.local:
        with ThreadPoolExecutor(REMOTE_THREADS) as pool:
            list(pool.map(remove, names))
        folder.fs.invalidate_cache()
        return
    emptied = set()
    for name in names:
        remove(name)
        while name != place and (name := name.rpartition("/")[0]):
            emptied.add(name)
    for name in sorted(emptied, key=len, reverse=True):
        with contextlib.suppress(OSError):  # it isn't empty
            os.rmdir(folder.path_of(name))

"""The only place that deletes files: those that the product wrote, recognised by their names.

Before the first file is deleted, all files in the folders to delete are checked. Links are not
followed, and are never ours. A folder is deleted only if it becomes empty.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable
from typing import NamedTuple

from landmark_ray.data.concurrently import map_concurrently
from landmark_ray.data.store import PART, Store
from landmark_ray.errors import UserError

Ours = Callable[[str], bool]
"""Returns whether a file with this name, relative to a folder, is one that the product writes."""


class Entry(NamedTuple):
    """An entry of a folder: its relative name, and whether it is a regular file and no link."""

    name: str
    is_file: bool

    @property
    def shown(self) -> str:
        """The name, in printable form."""
        name = self.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return name if self.is_file else f"{name} (a link, or no file)"


def list_entries(folder: Store, path: str) -> list[Entry]:
    """List all files, hidden files and links at or below a path of a folder, but no folders.

    If a parent of the path is a link or a file, the list holds just that parent.
    """
    if not folder.local:
        return [Entry(name, True) for name in folder.files(path, hidden=True)]
    top, parts = folder.path_of(path), [part for part in path.split("/") if part]
    for depth in range(1, len(parts) + 1):
        name = "/".join(parts[:depth])
        try:
            mode = os.lstat(folder.path_of(name)).st_mode
        except FileNotFoundError:
            return []
        if not stat.S_ISDIR(mode):
            return [Entry(name, stat.S_ISREG(mode))]
    entries = []
    for parent, folders, files in os.walk(top, onerror=_raised):
        for name in (*files, *folders):
            full = f"{parent}/{name}"
            with contextlib.suppress(FileNotFoundError):  # another worker has deleted it
                mode = os.lstat(full).st_mode
                if not stat.S_ISDIR(mode):
                    entries.append(Entry(full[len(folder.path) + 1 :], stat.S_ISREG(mode)))
    return sorted(entries)


def _raised(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # else another worker has deleted it
        raise error  # a folder that can't be listed is not empty


def foreign_entries(entries: Iterable[Entry], ours: Ours) -> list[Entry]:
    """Return the entries that are not ours; partial files of killed writers are ours."""
    return [e for e in entries if not (e.is_file and (_is_part(e.name) or ours(e.name)))]


def _is_part(name: str) -> bool:
    return PART.fullmatch(name.rpartition("/")[2]) is not None


def summarise(entries: list[Entry]) -> str:
    """Name the first entry, and say how many more there are."""
    return entries[0].shown + (f" and {len(entries) - 1:,} more" if len(entries) > 1 else "")


def check_ours(folder: Store, *paths: str, ours: Ours) -> dict[str, list[Entry]]:
    """List all entries at some paths of a folder, after checking that all of them are ours.

    Returns:
        Path -> its entries.

    Raises:
        UserError: Some are not ours; the text says where, which and how many.
    """
    entries_at = {path: list_entries(folder, path) for path in paths}
    for path, entries in entries_at.items():
        if foreign := foreign_entries(entries, ours):
            raise UserError(
                f"{folder.shown}/{path}".rstrip("/")
                + f" holds what landmark_ray did not write: {summarise(foreign)}. Nothing was "
                "touched: move it elsewhere, and run the same command again"
            )
    return entries_at


def delete(folder: Store, *paths: str, ours: Ours) -> None:
    """Delete all files at some paths of a folder, in the order of the paths, if all are ours.

    Raises:
        UserError: Some are not ours; nothing was deleted.
    """
    for path, entries in check_ours(folder, *paths, ours=ours).items():
        _remove(folder, [entry.name for entry in entries], path)


def delete_partial_files(folder: Store, *paths: str) -> None:
    """Delete the partial files that killed writers left at some paths."""
    if folder.local:
        for path in paths:
            parts = [e.name for e in list_entries(folder, path) if e.is_file and _is_part(e.name)]
            _remove(folder, parts, path)


def _remove(folder: Store, names: list[str], path: str) -> None:
    """Delete files, then the folders at or below a path that become empty."""

    def remove(name: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # another worker has deleted it
            folder.call(os.unlink if folder.local else folder.fs.rm_file, name)

    if not folder.local:
        map_concurrently(remove, names)
        folder.fs.invalidate_cache()
        return
    emptied = set()
    for name in names:
        remove(name)
        while name != path and (name := name.rpartition("/")[0]):
            emptied.add(name)
    for name in sorted(emptied, key=len, reverse=True):
        with contextlib.suppress(OSError):  # the folder is not empty
            os.rmdir(folder.path_of(name))

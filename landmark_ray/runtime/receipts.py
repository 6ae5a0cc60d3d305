"""Which files, of those that a job writes whole, it wrote itself: reports, and outputs by name.

Before such a file is written, its checksum is noted in `<root>/_ledger/written`. A file that is
there, but with no checksum that is noted, is another's or was changed, and is never written over.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from landmark_ray.data import deletion, layout
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.runtime import ledger

_BEGUN = "_ledger/written/begun.json"


def checksum(data: bytes) -> str:
    """sha256, as hex digits."""
    return hashlib.sha256(data).hexdigest()


def check_file(folder: Store, name: str, known: Collection[str], option: str = "") -> str | None:
    """The checksum of a file if it is there.

    Args:
        folder: where.
        name: of the file.
        known: checksums of what was written there.
        option: that named the file, for the error.

    Raises:
        UserError: something else is there, or a file with another checksum.
    """
    found = [e for e in deletion.list_entries(folder, name) if e.name != name or not e.is_file]
    if not found and not folder.exists(name):
        return None
    if not found and not (folder.local and folder.fs.isdir(folder.path_of(name))):
        have = checksum(folder.read(name))
        if have in known:
            return have
    raise UserError(
        f"{option}{folder.shown}/{name} is there, and is not as landmark_ray wrote it: move it "
        "elsewhere or, if an option named it, choose another name. Nothing was written"
    )


def begin(tables: Root) -> None:
    """Note from here on what is written; in a root of older code all its reports are ours."""
    if tables.exists(_BEGUN):
        return
    if ledger.begun(tables):
        for name in tables.files("reports"):
            if layout.REPORTS.fullmatch(name):
                _note(tables, name, [checksum(tables.read(name))])
    tables.write_json(_BEGUN, {})


def check(tables: Root, names: Iterable[str], folder: Store | None = None) -> None:
    """Make sure that files may be written.

    Args:
        tables: the root.
        names: of the files.
        folder: that they are in, where a person named it; else the root.

    Raises:
        UserError: one is there that wasn't written from this root, or was changed.
    """
    for name in names:
        _check(tables, name, folder)


def _check(tables: Root, name: str, folder: Store | None) -> str | None:
    known = tables.read_json(_receipt(_key(tables, name, folder))) or {}
    return check_file(folder or tables, name, known.get("sha256", []))


def write(tables: Root, files: Mapping[str, bytes], folder: Store | None = None) -> None:
    """Write files, if all of them may be written.

    Args:
        tables: the root.
        files: name -> what is in it.
        folder: as of `check`.

    Raises:
        UserError: as `check` does; nothing was written.
    """
    there = {name: _check(tables, name, folder) for name in files}
    for name, data in files.items():
        sums = [there[name], checksum(data)]
        _note(tables, _key(tables, name, folder), [each for each in sums if each])
        (folder or tables).write(name, data)


def _key(tables: Root, name: str, folder: Store | None) -> str:
    """Relative to the root, which may be moved, where the file lies in it."""
    return f"{(folder or tables).real_path}/{name}".removeprefix(f"{tables.real_path}/")


def _receipt(key: str) -> str:
    return f"_ledger/written/{checksum(key.encode('utf-8', 'surrogateescape'))[:24]}.json"


def _note(tables: Root, key: str, sums: list[str]) -> None:
    value: dict[str, Any] = {"name": deletion.Entry(key, True).shown, "sha256": sums}
    tables.write_json(_receipt(key), value)

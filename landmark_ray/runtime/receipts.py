"""Protect files that the product did not write: reports, and outputs that an option names.

Before such a file is written, its checksum is noted in `_ledger/written`. An existing file whose
checksum is not noted belongs to another program or was changed, and is never overwritten.
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
    """Return the sha256 of data as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def check_file(folder: Store, name: str, known: Collection[str], option: str = "") -> str | None:
    """Return the checksum of a file, or None if there is no such file.

    Args:
        folder: The folder of the file.
        name: The name of the file in the folder.
        known: The checksums of what the product has written there.
        option: The start of the error message, such as "--output: ".

    Raises:
        UserError: There is a folder or link of this name, or a file with another checksum.
    """
    in_the_way = [e for e in deletion.list_entries(folder, name) if e.name != name or not e.is_file]
    if not in_the_way and not folder.exists(name):
        return None
    if not in_the_way and not (folder.local and folder.fs.isdir(folder.path_of(name))):
        actual = checksum(folder.read(name))
        if actual in known:
            return actual
    raise UserError(
        f"{option}{folder.shown}/{name} is there, and is not as landmark_ray wrote it: move it "
        "elsewhere or, if it was named by an option, choose another name. Nothing was written"
    )


def begin(root: Root) -> None:
    """Begin to note what is written; in a root of an older version, note all existing reports."""
    if root.exists(_BEGUN):
        return
    if ledger.read_all(root):
        for name in root.files("reports"):
            if layout.REPORTS.fullmatch(name):
                _note(root, name, [checksum(root.read(name))])
    root.write_json(_BEGUN, {})


def check(root: Root, names: Iterable[str], folder: Store | None = None) -> None:
    """Make sure that files may be written.

    Args:
        root: The root that holds the notes.
        names: The names of the files in `folder`.
        folder: The folder of the files; the root when None.

    Raises:
        UserError: A file exists that was not written from this root, or that was changed.
    """
    for name in names:
        _check(root, name, folder)


def _check(root: Root, name: str, folder: Store | None) -> str | None:
    known = root.read_json(_receipt(_key(root, name, folder))) or {}
    return check_file(folder or root, name, known.get("sha256", []))


def write(root: Root, files: Mapping[str, bytes], folder: Store | None = None) -> None:
    """Write files, if all of them may be written.

    Args:
        root: The root that holds the notes.
        files: Name of a file in `folder` -> its content.
        folder: The folder of the files; the root when None.

    Raises:
        UserError: As for `check`; nothing was written.
    """
    existing = {name: _check(root, name, folder) for name in files}
    for name, data in files.items():
        sums = [existing[name], checksum(data)]
        _note(root, _key(root, name, folder), [value for value in sums if value])
        (folder or root).write(name, data)


def _key(root: Root, name: str, folder: Store | None) -> str:
    """Return the path of a file, relative to the root if it lies in it: a root may be moved."""
    return f"{(folder or root).real_path}/{name}".removeprefix(f"{root.real_path}/")


def _receipt(key: str) -> str:
    return f"_ledger/written/{checksum(key.encode('utf-8', 'surrogateescape'))[:24]}.json"


def _note(root: Root, key: str, sums: list[str]) -> None:
    value: dict[str, Any] = {"name": deletion.Entry(key, True).shown, "sha256": sums}
    root.write_json(_receipt(key), value)

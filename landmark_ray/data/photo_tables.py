"""Parquet tables of photos, such as Hugging Face's, and tables that hold none."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from landmark_ray.data.file_kinds import photo_ending, printable
from landmark_ray.data.listing import LeftOut
from landmark_ray.data.retry import is_transient
from landmark_ray.data.store import Store
from landmark_ray.data.tars import Member
from landmark_ray.errors import UserError

ENDING = ".parquet"
IDS, BYTES = ("image_id", "id"), ("jpeg", "image", "bytes")
"""Names of the columns of a table of photos. Without ids the path of Hugging Face's image column
is the name, else the number of the row."""

ROWS = 256
"""Rows of a table that are read at once."""


class DamagedError(UserError):
    """A part of the source can't be read to its end."""


@dataclass
class TablePart:
    """A Parquet file of photos."""

    name: str
    folder: Store
    size: int
    notes: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)

    def lacks(self) -> str:
        """What it lacks to be a table of photos; nothing where it is so damaged that none can tell.

        Raises:
            UserError: the store fails.
        """
        try:
            schema = self._open().schema_arrow
        except DamagedError:
            return ""
        if _photo_column(schema) is not None:
            return ""
        return (
            f"{self.folder.shown}/{printable(self.name)} needs a column {' or '.join(BYTES)}, "
            f"it has {', '.join(schema.names)}"
        )

    def members(self, max_bytes: float) -> Iterator[Member]:
        """All photos, in the order of the rows.

        Raises:
            DamagedError: it is, from there on.
            UserError: the store fails.
        """
        file = self._open()
        data = _photo_column(file.schema_arrow)
        ids = next((name for name in IDS if name in file.schema_arrow.names), None)
        number = 0
        try:
            for batch in file.iter_batches(ROWS, columns=[data, *([ids] if ids else [])]):
                names = _texts(batch[ids]) if ids else [""] * len(batch)
                for name, cell in zip(names, batch[data].to_pylist(), strict=True):
                    found, path = _bytes_and_path(cell)
                    name = name or path.removesuffix(photo_ending(path)) or str(number)
                    kept = found if len(found) <= max_bytes else b""
                    yield Member(name, len(found), kept, name)
                    number += 1
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._error(error) from None

    def _open(self) -> pq.ParquetFile:
        try:
            return self.folder.open_table(self.name)
        except UserError as error:
            raise self._error(error.__context__ or error) from None

    def _error(self, error: BaseException) -> UserError:
        why = " ".join(str(error).split())[:300]
        if isinstance(error, UserError) or is_transient(error):
            where = f"{self.folder.shown}/{printable(self.name)}"
            return UserError(f"{where} can't be read now ({why}); try again")
        return DamagedError(f"{printable(self.name)} is damaged: {why}")


def _photo_column(schema: pa.Schema) -> str | None:
    """The column of photos: bytes, or a struct with `bytes`, as Hugging Face's."""
    for name in BYTES:
        if name in schema.names:
            kind = schema.field(name).type
            if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
                kind = kind.field("bytes").type
            if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                return name
    return None


def _bytes_and_path(cell: Any) -> tuple[bytes, str]:
    if isinstance(cell, dict):
        return cell["bytes"] or b"", str(cell.get("path") or "")
    return cell or b"", ""


def _texts(ids: pa.Array) -> list[str]:
    """Ids as text, though a string may be no UTF-8; empty where there is none."""
    if pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type):
        ids = ids.cast(pa.large_binary())
    return [
        i.decode(errors="backslashreplace") if isinstance(i, bytes) else "" if i is None else str(i)
        for i in ids.to_pylist()
    ]

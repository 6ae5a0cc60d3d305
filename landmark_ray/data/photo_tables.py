"""Parquet tables of photos, such as those of Hugging Face."""

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
from landmark_ray.errors import UserError, shortened

ENDING = ".parquet"
IDS, BYTES = ("image_id", "id"), ("jpeg", "image", "bytes")
"""Names of the columns of a table of photos. Without a column of ids, the id is the path in the
image column of Hugging Face, or else the number of the row."""

ROWS = 256
"""Number of rows that are read in one step."""


class DamagedError(UserError):
    """A part of the source cannot be read to its end."""


@dataclass
class TablePart:
    """A Parquet file of photos.

    Attributes:
        name: Name in the folder.
        folder: Where the file lies.
        size: Bytes.
        notes: Lines for people.
        left_out: The files that are not used, counted by kind.
    """

    name: str
    folder: Store
    size: int
    notes: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)

    def lacks(self) -> str:
        """Say why this is not a table of photos; return "" if it is one, or is damaged.

        Raises:
            UserError: The store fails.
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
        """Yield all photos in the order of the rows; a photo over `max_bytes` has no data.

        Raises:
            DamagedError: The rest of the file is damaged.
            UserError: The store fails.
        """
        file = self._open()
        data = _photo_column(file.schema_arrow)
        ids = next((name for name in IDS if name in file.schema_arrow.names), None)
        number = 0
        try:
            for batch in file.iter_batches(ROWS, columns=[data, *([ids] if ids else [])]):
                names = _texts(batch[ids]) if ids else [""] * len(batch)
                for name, cell in zip(names, batch[data].to_pylist(), strict=True):
                    photo, path = _bytes_and_path(cell)
                    name = name or path.removesuffix(photo_ending(path)) or str(number)
                    kept = photo if len(photo) <= max_bytes else b""
                    yield Member(name, len(photo), kept, name)
                    number += 1
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._error(error) from None

    def _open(self) -> pq.ParquetFile:
        try:
            return self.folder.open_table(self.name)
        except UserError as error:
            raise self._error(error.__context__ or error) from None

    def _error(self, error: BaseException) -> UserError:
        why = shortened(error)
        if isinstance(error, UserError) or is_transient(error):
            where = f"{self.folder.shown}/{printable(self.name)}"
            return UserError(f"{where} can't be read now ({why}); try again")
        return DamagedError(f"{printable(self.name)} is damaged: {why}")


def _photo_column(schema: pa.Schema) -> str | None:
    """Return the column of photos: bytes, or a struct with `bytes` as that of Hugging Face."""
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
    """Return ids as text, even if they are not UTF-8; a null becomes ""."""
    if pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type):
        ids = ids.cast(pa.large_binary())
    return [
        i.decode(errors="backslashreplace") if isinstance(i, bytes) else "" if i is None else str(i)
        for i in ids.to_pylist()
    ]

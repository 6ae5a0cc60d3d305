"""Csv files from any program, read as columns of text."""

import codecs
import csv
import functools
import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from landmark_ray.errors import UserError

SEPARATORS = (",", ";", "\t", "|")
BLOCK = 1 << 24
"""Size of a block that is read, and of the longest possible line, in bytes."""

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class CsvFile:
    """A csv with a header, in UTF-8, or in UTF-16 with a byte order mark.

    The separator is the one of `SEPARATORS` that occurs most often in the header.

    Raises:
        UserError: When constructed or read: it is not such a file; the text names file and line.
    """

    def __init__(self, data: bytes, shown: str) -> None:
        """Read the header.

        Args:
            data: The file.
            shown: Name of the file in messages.
        """
        self.shown = shown
        if data.startswith(_UTF16):
            data = data.decode("utf-16", errors="replace").encode()
        if b"\n" not in data:
            data = data.replace(b"\r", b"\n")
        start = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
        while data[start : start + 1] in (b"\r", b"\n"):
            start += 1
        end = data.find(b"\n", start) + 1 or len(data)
        self.header = data[start:end].decode(errors="replace").strip()
        self.separator = max(SEPARATORS, key=self.header.count)
        names = next(csv.reader([self.header], delimiter=self.separator), [])
        self.names = [name.strip().lower() for name in names]
        self.data, self.begin = data, end

    def has(self, *columns: str) -> bool:
        """Return whether the file has all of these columns."""
        return set(columns) <= set(self.names)

    def columns(self, *columns: str) -> pa.Table:
        """Read columns as text without surrounding blanks; an empty cell is null.

        Lines that repeat the header, as in files that were concatenated, are left out.

        Raises:
            UserError: A column is missing or occurs twice, or the file is malformed.
        """
        if not self.has(*columns):
            raise UserError(
                f"{self.shown} must be a csv with the columns {', '.join(columns)} "
                f"(it begins with {self.header[:200]!r})"
            )
        twice = next((name for name in columns if self.names.count(name) > 1), None)
        if twice:
            raise UserError(f"{self.shown} has the column {twice} twice: remove one of them")
        if self.begin + 100 > len(self.data) and not self.data[self.begin :].strip():
            return pa.table({name: pa.array([], pa.string()) for name in columns})
        indices = [str(self.names.index(name)) for name in columns]
        try:
            rows = self._read(indices)
        except pa.ArrowException:
            raise self._refusal() from None
        cells = {name: _cell(rows[i]) for name, i in zip(columns, indices, strict=True)}
        repeats = [pc.equal(pc.ascii_lower(cells[name]), name) for name in columns]
        repeated = pc.fill_null(functools.reduce(pc.and_kleene, repeats), False)
        return pa.table(cells).filter(pc.invert(repeated))

    def _read(self, indices: list[str]) -> pa.Table:
        return pacsv.read_csv(
            pa.BufferReader(pa.py_buffer(self.data).slice(self.begin)),
            read_options=pacsv.ReadOptions(
                column_names=[str(i) for i in range(len(self.names))], block_size=BLOCK
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=self.separator, newlines_in_values=b'"' in self.data
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(indices, pa.string()), include_columns=indices
            ),
        )

    def line_of(self, column: str, value: str) -> int:
        """Return the number of the first line in which a column has a value, or 0."""
        index = self.names.index(column)
        for line, row in self._rows():
            if len(row) > index and row[index].strip() == value:
                return line
        return 0

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield line numbers and rows, with Python's reader, which is slower than Arrow's."""
        csv.field_size_limit(1 << 30)
        text = self.data[self.begin :].decode(errors="replace")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.separator)
        before = self.data[: self.begin].count(b"\n")
        yield from ((reader.line_num + before, row) for row in reader if row)

    def _refusal(self) -> UserError:
        """Say what is wrong with a file that cannot be read."""
        try:
            self.data.decode()
        except UnicodeDecodeError as error:
            line = self.data[: error.start].count(b"\n") + 1
            return UserError(f"{self.shown}, line {line}: the file is not UTF-8: save it as UTF-8")
        try:
            for line, row in self._rows():
                if len(row) != len(self.names):
                    return UserError(
                        f"{self.shown}, line {line}: {len(row)} columns, but the first line has "
                        f"{len(self.names)}: {','.join(row)[:80]!r}"
                    )
        except csv.Error as error:
            return UserError(f"{self.shown} is not a csv: {error}")
        return UserError(f"{self.shown} cannot be read as csv: look for a quote that is not closed")


def _cell(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Remove blanks around text; empty text becomes null."""
    text = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(text, ""), None, text)

"""Rows of a table that meet some conditions, as csv."""

import re
import sys
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.dataset as pads
from pydantic import Field

from landmark_ray.config.base import Options
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError

OPERATORS = ("!=", "<=", ">=", "=", "<", ">", "~")


class RowsConfig(Options):
    """Options of jobs/rows.py."""

    root: str = Field(description="folder or URI that holds all tables")
    table: str = Field(description="its name, such as kept, cleaned or rejects/stage=ingest")
    where: tuple[str, ...] = Field(
        (),
        description="conditions that all must hold, such as reason=unverified, inliers>=5, "
        "reason~truncated (contains), landmarks>1 (of a list: its length)",
    )
    limit: int | None = Field(None, ge=1, description="rows at most; all when not given")


def show(config: RowsConfig) -> None:
    """Print the rows; bytes are left out, and the count goes to stderr.

    Raises:
        UserError: there is no such table, or a condition is wrong.
    """
    root = Root(config.root)
    if not root.exists(config.table):
        raise UserError(f"--table: {root.uri} has no table {config.table}")
    dataset = root.dataset(config.table)
    names = [f.name for f in dataset.schema if not _bytes(f.type)]
    conditions = [condition(text, dataset.schema) for text in config.where]
    count, left = 0, config.limit
    written(dataset.schema.empty_table().select(names), header=True)
    for batch in dataset.to_batches(columns=names, filter=all_of(conditions)):
        rows = pa.Table.from_batches([batch])[:left]
        written(rows, header=False)
        count += rows.num_rows
        if left is not None:
            left -= rows.num_rows
            if not left:
                break
    print(f"{count:,} rows", file=sys.stderr)


def _bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind)


def written(rows: pa.Table, header: bool) -> None:
    """Print rows as csv; lists as words with spaces between."""
    for i, field in enumerate(rows.schema):
        if pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type):
            words = [" ".join(map(str, value or ())) for value in rows[field.name].to_pylist()]
            rows = rows.set_column(i, field.name, pa.array(words, pa.string()))
    out = pa.BufferOutputStream()
    pacsv.write_csv(rows, out, pacsv.WriteOptions(include_header=header, quoting_style="needed"))
    sys.stdout.buffer.write(out.getvalue())
    sys.stdout.flush()


def all_of(conditions: Sequence[pads.Expression]) -> pads.Expression | None:
    """All of them; None where there is none."""
    found = None
    for one in conditions:
        found = one if found is None else found & one
    return found


def condition(text: str, schema: pa.Schema) -> pads.Expression:
    """A condition such as inliers>=5.

    Raises:
        UserError: it is none, or of a column that the table doesn't have.
    """
    found = re.match(r"(\w+)\s*(!=|<=|>=|=|<|>|~)\s*(.*)", text, re.DOTALL)
    if not found:
        raise UserError(f"--where {text!r}: write column, {' '.join(OPERATORS)}, value")
    name, operator, word = found.groups()
    if name not in schema.names:
        raise UserError(f"--where {text!r}: there are the columns {', '.join(schema.names)}")
    column, kind = pc.field(name), schema.field(name).type
    if pa.types.is_list(kind):
        column, kind = pc.list_value_length(column), pa.int32()
    if operator == "~":
        return pc.match_substring(column.cast(pa.string()), word)
    try:
        value = pa.scalar(word).cast(kind)
    except pa.ArrowException:
        raise UserError(f"--where {text!r}: {name} is of type {kind}, not {word!r}") from None
    return {
        "=": column == value,
        "!=": column != value,
        "<": column < value,
        "<=": column <= value,
        ">": column > value,
        ">=": column >= value,
    }[operator]

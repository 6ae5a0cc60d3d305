"""Print the rows of a table that meet conditions as csv."""

import re
import sys
from collections.abc import Iterator, Sequence

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
    table: str = Field(description="name of the table: kept, cleaned, rejects/stage=ingest ...")
    where: tuple[str, ...] = Field(
        (),
        description="conditions that must all be true, such as reason=unverified, inliers>=5, "
        "reason~truncated (contains), landmarks>1 (the length of a list)",
    )
    limit: int | None = Field(
        None, ge=1, description="largest number of rows; all rows when not given"
    )


def show(config: RowsConfig) -> None:
    """Print the rows without columns of bytes to stdout, and their number to stderr.

    Raises:
        UserError: There is no such table, it is damaged, or a condition is invalid.
    """
    root = Root(config.root)
    if not root.exists(config.table):
        raise UserError(f"--table: {root.uri} has no table {config.table}")
    dataset = root.dataset(config.table)
    names = [f.name for f in dataset.schema if not _bytes(f.type)]
    conditions = [condition(text, dataset.schema) for text in config.where]
    count, left = 0, config.limit
    print_csv(dataset.schema.empty_table().select(names), header=True)
    for batch in _batches(dataset, names, conditions, config, root):
        rows = pa.Table.from_batches([batch])[:left]
        print_csv(rows, header=False)
        count += rows.num_rows
        if left is not None:
            left -= rows.num_rows
            if not left:
                break
    print(f"{count:,} rows", file=sys.stderr)


def _batches(
    dataset: pads.Dataset,
    names: list[str],
    conditions: Sequence[pads.Expression],
    config: RowsConfig,
    root: Root,
) -> Iterator[pa.RecordBatch]:
    try:
        yield from dataset.to_batches(columns=names, filter=all_of(conditions))
    except (pa.ArrowException, OSError) as error:
        raise root.damaged(config.table, error) from None


def _bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind)


def print_csv(rows: pa.Table, header: bool) -> None:
    """Print rows as csv, with a line of column names if `header`; join lists with spaces."""
    for i, field in enumerate(rows.schema):
        if pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type):
            words = [" ".join(map(str, value or ())) for value in rows[field.name].to_pylist()]
            rows = rows.set_column(i, field.name, pa.array(words, pa.string()))
    out = pa.BufferOutputStream()
    pacsv.write_csv(rows, out, pacsv.WriteOptions(include_header=header, quoting_style="needed"))
    sys.stdout.buffer.write(out.getvalue())
    sys.stdout.flush()


def all_of(conditions: Sequence[pads.Expression]) -> pads.Expression | None:
    """Combine conditions with "and"; return None if there are none."""
    combined = None
    for one in conditions:
        combined = one if combined is None else combined & one
    return combined


def condition(text: str, schema: pa.Schema) -> pads.Expression:
    """Parse a condition such as inliers>=5.

    Raises:
        UserError: The text is not a condition, or the table does not have its column.
    """
    match = re.match(r"(\w+)\s*(!=|<=|>=|=|<|>|~)\s*(.*)", text, re.DOTALL)
    if not match:
        raise UserError(
            f"--where {text!r}: write column, operator ({' '.join(OPERATORS)}) and value"
        )
    name, operator, word = match.groups()
    if name not in schema.names:
        raise UserError(f"--where {text!r}: the columns are {', '.join(schema.names)}")
    column, kind = pc.field(name), schema.field(name).type
    listed = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
    if operator == "~" and (listed or _bytes(kind)):
        raise UserError(f"--where {text!r}: {name} is of type {kind}, in which no text is sought")
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

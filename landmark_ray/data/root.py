"""The root of a run: its tables, as files of whole classes."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from landmark_ray.data import deletion, layout
from landmark_ray.data.schemas import TABLES, check_plain
from landmark_ray.data.store import RAW, STATS, Store

_SHARD = re.compile(r"/bucket=\d+/shard-\d+\.parquet$")


@dataclass(frozen=True, order=True)
class Shard:
    """A file of a table, and the images that it begins with in the catalog."""

    bucket: int
    shard: int
    images: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """Bucket and shard."""
        return self.bucket, self.shard


class Root(Store):
    """The root: all tables of a run."""

    def name(self, table: str, bucket: int, shard: int) -> str:
        """File of a shard."""
        return f"{table}/bucket={bucket}/shard-{shard:05d}.parquet"

    def read_shard(
        self, table: str, bucket: int, shard: int, columns: list[str] | None = None
    ) -> pa.Table:
        """The rows of a shard."""
        return self.read_table(self.name(table, bucket, shard), columns)

    def commit(
        self,
        table: str,
        bucket: int,
        shard: int,
        rows: pa.Table,
        stats: str,
        *,
        rejects: pa.Table | None = None,
        stage: str = "",
    ) -> None:
        """Write a shard; with it the unit of work is finished. Its rejects are written before."""
        if rejects is not None and rejects.num_rows:
            self.write_table(self.name(f"rejects/stage={stage}", bucket, shard), rejects)
        group = 64 if RAW & set(rows.column_names) else None
        self.write_table(self.name(table, bucket, shard), rows, rows=group, stats=stats)

    def committed(self, table: str) -> dict[tuple[int, int], bytes]:
        """(bucket, shard) -> report of every finished shard of a table."""
        names = [n for n in self.files(table) if _SHARD.search(n)]
        readers = 1 if self.local else 16  # a disk's footers are there at once
        with ThreadPoolExecutor(readers) as pool:
            return dict(pool.map(self._stats, names))

    def stats(self, table: str, bucket: int, shard: int) -> str | None:
        """The report of a shard, or None where it isn't finished."""
        try:
            return self._stats(self.name(table, bucket, shard))[1].decode()
        except FileNotFoundError:
            return None

    def _stats(self, name: str) -> tuple[tuple[int, int], bytes]:
        _, bucket, file = name.rsplit("/", 2)
        key = int(bucket.removeprefix("bucket=")), int(file[len("shard-") : -len(".parquet")])
        try:
            schema = pq.read_schema(self.path_of(name), filesystem=self.fs)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self.damaged(name, error) from None
        return key, (schema.metadata or {}).get(STATS, b"")

    def delete(self, *names: str) -> None:
        """Delete places of the root, each a folder or a file, if all that lies there is ours.

        Raises:
            UserError: it isn't; nothing was deleted.
        """
        deletion.delete(self, *names, ours=layout.ours)

    def ensure(self, table: str) -> None:
        """Make an empty table where a stage had no row to write; a folder of models is none."""
        base = table.partition("/")[0]
        if base in TABLES and not self.files(table):
            self.write_table(f"{table}/bucket=0/empty.parquet", TABLES[base].empty_table())

    def dataset(self, table: str) -> pads.Dataset:
        """All rows of a table or of one of its files, with its folders as columns (hive).

        Raises:
            UserError: its first file is damaged, and which table.
        """
        try:
            found = pads.dataset(self.path_of(table), filesystem=self.fs, partitioning="hive")
            check_plain(found.schema)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self.damaged(table, error) from None
        return found

    def classes(self, bucket: int, shard: int) -> list[int]:
        """The landmark ids of a shard, by the catalog."""
        here = (pc.field("bucket") == bucket) & (pc.field("shard") == shard)
        rows = self.dataset("catalog").to_table(["landmark_id"], filter=here)
        return sorted(set(rows["landmark_id"].to_pylist()))

    def shards(self) -> list[Shard]:
        """All shards of the catalog, the ones with most images first."""
        catalog = self.dataset("catalog").to_table(["bucket", "shard"])
        counts = catalog.group_by(["bucket", "shard"]).aggregate([([], "count_all")])
        rows: Iterator[Shard] = (
            Shard(row["bucket"], row["shard"], row["count_all"]) for row in counts.to_pylist()
        )
        return sorted(rows, key=lambda s: (-s.images, s.bucket, s.shard))

"""The root of a run: its tables, whose files hold whole classes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from landmark_ray.data import deletion, layout
from landmark_ray.data.concurrently import READERS, map_concurrently
from landmark_ray.data.schemas import TABLES, check_plain
from landmark_ray.data.store import RAW, STATS, Store

_SHARD = re.compile(r"/bucket=\d+/shard-\d+\.parquet$")


@dataclass(frozen=True, order=True)
class Shard:
    """A shard: a file of each table, by its bucket and number.

    Attributes:
        bucket: Number of the bucket.
        shard: Number in the bucket.
        images: Number of images in the catalog.
    """

    bucket: int
    shard: int
    images: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """The bucket and the number of the shard."""
        return self.bucket, self.shard


class Root(Store):
    """The folder with all tables of a run."""

    @property
    def models(self) -> Store:
        """The folder of the trained networks, see `bundle.network_files`."""
        return Store(f"{self.uri}/models")

    def name(self, table: str, bucket: int, shard: int) -> str:
        """Return the name of a shard's file."""
        return f"{table}/bucket={bucket}/shard-{shard:05d}.parquet"

    def read_shard(
        self, table: str, bucket: int, shard: int, columns: list[str] | None = None
    ) -> pa.Table:
        """Read the rows of a shard.

        Raises:
            UserError: The file is missing or damaged; the text names it.
        """
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
        """Write a shard, which commits its task; the rejects are written before.

        Args:
            table: Name of the table.
            bucket: Bucket of the shard.
            shard: Number of the shard.
            rows: Rows of the table.
            stats: Counts of the task as JSON, which are stored with the rows.
            rejects: Rows of the table `rejects`.
            stage: Stage that rejects.
        """
        if rejects is not None and rejects.num_rows:
            self.write_table(self.name(f"rejects/stage={stage}", bucket, shard), rejects)
        group = 64 if RAW & set(rows.column_names) else None
        self.write_table(self.name(table, bucket, shard), rows, rows=group, stats=stats)

    def committed(self, table: str) -> dict[tuple[int, int], bytes]:
        """Return (bucket, shard) -> stats of every committed shard of a table."""
        names = [n for n in self.files(table) if _SHARD.search(n)]
        readers = 1 if self.local else READERS  # a local disk has no latency to hide
        return dict(map_concurrently(self._stats, names, readers))

    def stats(self, table: str, bucket: int, shard: int) -> str | None:
        """Return the stats of a shard, or None if it is not committed."""
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
        """Delete folders or files of the root, if all files in them are ours.

        Raises:
            UserError: Some are not ours; nothing was deleted.
        """
        deletion.delete(self, *names, ours=layout.ours)

    def ensure(self, table: str) -> None:
        """Write an empty table if a stage wrote no row; folders of models are no tables."""
        base = table.partition("/")[0]
        if base in TABLES and not self.files(table):
            self.write_table(f"{table}/bucket=0/empty.parquet", TABLES[base].empty_table())

    def dataset(self, table: str) -> pads.Dataset:
        """Open a table or one of its files; folders become columns (hive partitioning).

        Raises:
            FileNotFoundError: There is no such table.
            UserError: The first file is damaged; the text names the table.
        """
        try:
            dataset = pads.dataset(
                self.path_of(table),
                filesystem=self.fs,
                partitioning="hive",
                partition_base_dir=self.path,  # folders above may have such names, too
            )
            check_plain(dataset.schema)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self.damaged(table, error) from None
        return dataset

    def classes(self, bucket: int, shard: int) -> list[int]:
        """Return the landmark ids of a shard, from the catalog."""
        in_shard = (pc.field("bucket") == bucket) & (pc.field("shard") == shard)
        rows = self.dataset("catalog").to_table(["landmark_id"], filter=in_shard)
        return sorted(set(rows["landmark_id"].to_pylist()))

    def shards(self) -> list[Shard]:
        """Return all shards of the catalog, those with the most images first."""
        catalog = self.dataset("catalog").to_table(["bucket", "shard"])
        counts = catalog.group_by(["bucket", "shard"]).aggregate([([], "count_all")])
        rows: Iterator[Shard] = (
            Shard(row["bucket"], row["shard"], row["count_all"]) for row in counts.to_pylist()
        )
        return sorted(rows, key=lambda s: (-s.images, s.bucket, s.shard))

"""The only module that opens URIs and tables: local, s3://, gs://, https:// through fsspec.

A file appears whole or not at all: objects are put in one piece, local files are written beside
their place and renamed. So a file that exists is a finished unit of work.
"""

import errno
import json
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, cast
from urllib.parse import urlsplit

import aiohttp
import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from landmark_ray.errors import UserError
from landmark_ray.patience import PatientFile, passing, patiently
from landmark_ray.plain import check_plain, redacted
from landmark_ray.schemas import TABLES

REPORT = b"landmark_ray.report"
_RAW = {"jpeg", "keypoints", "descriptors"}  # bytes that no codec makes smaller


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


class Folder:
    """A folder at a URI.

    Raises:
        UserError: when constructed with a URI of an unknown protocol.
    """

    def __init__(self, uri: str) -> None:
        """Open nothing yet."""
        self.uri = uri.rstrip("/") or "/"
        try:
            urlsplit(self.uri)
            self.fs, path = fsspec.url_to_fs(self.uri)
        except (ValueError, ImportError) as error:
            raise UserError(f"{uri}: {error}") from None
        self.path = path.rstrip("/")
        protocol = self.fs.protocol
        self.local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)
        if self.local:
            self.uri = self.path  # absolute: a worker may have another working folder
        self.web = "https" in protocol

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the URI: an open connection belongs to one process."""
        return (type(self), (self.uri,))

    @property
    def shown(self) -> str:
        """The URI as others may see it: without a password."""
        return redacted(self.uri)

    def at(self, name: str) -> str:
        """Path of a file of this folder on its file system.

        Raises:
            UserError: the name, which may come from a file, leads out of the folder.
        """
        if ".." in name.split("/"):
            raise UserError(f"{self.uri}: the name {name!r} leads out of this folder")
        return f"{self.path}/{name}" if name else self.path

    def _done(self, work: Callable[..., Any], name: str, *args: Any, **named: Any) -> Any:
        """What a method of the file system returns for a file; a remote one is tried patiently."""
        if self.local:
            return work(self.at(name), *args, **named)
        try:
            return patiently(f"{self.uri}/{name}", work, self.at(name), *args, **named)
        except aiohttp.ClientResponseError as error:
            if error.status in (401, 403):  # what S3 says of a missing file to who mayn't list
                raise FileNotFoundError(name) from None
            raise

    def exists(self, name: str = "") -> bool:
        """Whether there is such a file or folder."""
        strict = {"strict": True} if self.web else {}  # else a server that is ill has no file
        try:
            return bool(self._done(self.fs.exists, name, **strict))
        except FileNotFoundError:
            return False

    def size(self, name: str) -> int:
        """Bytes of a file; 0 where a web server doesn't say.

        Raises:
            FileNotFoundError: there is none.
        """
        return int(self._done(self.fs.info, name)["size"] or 0)

    def open(self, name: str) -> IO[bytes] | PatientFile:
        """A file, for reading from its beginning to its end."""
        file = self._done(self.fs.open, name, "rb", cache_type="readahead")
        return file if self.local else PatientFile(f"{self.uri}/{name}", file)

    def read(self, name: str) -> bytes:
        """A whole file."""
        return cast(bytes, self._done(self.fs.cat_file, name))

    def write(self, name: str, data: bytes | pa.Buffer, *, durable: bool = True) -> None:
        """Make or replace a file, whole or not at all.

        Args:
            name: its path in the folder.
            data: what is in it.
            durable: it outlives a power cut, not just this process.

        Raises:
            UserError: there is no space left.
        """
        path = self.at(name)
        if not self.local:
            self._done(self.fs.pipe_file, name, bytes(data))
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        part = f"{os.path.dirname(path)}/.{uuid.uuid4().hex}.part"
        try:
            with open(part, "wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            if os.path.exists(part):
                os.unlink(part)
            if error.errno == errno.ENOSPC:
                raise UserError(
                    f"{path}: no space left; free some, and the same command goes on"
                ) from None
            raise

    def files(self, name: str = "") -> dict[str, int]:
        """Relative name -> size of every file under a folder; hidden ones are left out."""
        if not self.exists(name):
            return {}
        self.fs.invalidate_cache()
        found = cast(dict[str, Any], self._done(self.fs.find, name, detail=True))
        names = {
            path[len(self.path) :].lstrip("/"): int(info["size"] or 0)
            for path, info in sorted(found.items())
        }
        return {n: s for n, s in names.items() if not n.rpartition("/")[2].startswith(".")}

    def delete(self, name: str) -> None:
        """Delete a file or a folder with all that is in it, if it is there."""
        if self.exists(name):
            self._done(self.fs.rm, name, recursive=True)
            self.fs.invalidate_cache()

    def sweep(self, name: str) -> None:
        """Delete what killed writers left beside the files of a folder."""
        if self.local and os.path.isdir(self.at(name)):
            for folder, _, names in os.walk(self.at(name)):
                for part in names:
                    if part.startswith(".") and part.endswith(".part"):
                        os.unlink(os.path.join(folder, part))

    def read_json(self, name: str) -> Any:
        """A JSON file, or None where there is none.

        Raises:
            UserError: it is damaged, and which.
        """
        try:
            return json.loads(self.read(name))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            raise self._damaged(name, error) from None

    def write_json(self, name: str, value: Any, *, durable: bool = True) -> None:
        """Make or replace a JSON file."""
        self.write(name, json.dumps(value, indent=1).encode(), durable=durable)

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """One Parquet file.

        Raises:
            UserError: the file is missing or damaged, and which.
        """
        try:
            return self.open_table(name).read(columns)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(name, error) from None

    def open_table(self, name: str) -> pq.ParquetFile:
        """One Parquet file, to read parts of it. Pages are checked against their checksums.

        Raises:
            UserError: the file is missing or damaged, and which.
        """
        try:
            file = pq.ParquetFile(
                self.at(name), filesystem=self.fs, page_checksum_verification=True
            )
            check_plain(file.schema_arrow)
            return file
        except FileNotFoundError:
            raise UserError(
                f"{self.uri}/{name} is missing: run its stage with --redo STAGE"
            ) from None
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._damaged(name, error) from None

    def read_row_group(
        self, file: pq.ParquetFile, name: str, group: int, columns: list[str]
    ) -> pa.Table:
        """A row group of a file that `open_table` opened.

        Raises:
            UserError: it is damaged, and which.
        """
        try:
            return file.read_row_group(group, columns)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(name, error) from None

    def _damaged(self, name: str, error: Exception) -> UserError:
        if passing(error):
            return UserError(f"{self.uri}/{name} can't be read now ({error}); try again")
        why = " ".join(str(error).split())[:300]
        return UserError(f"{self.uri}/{name} is damaged ({why}): run its stage with --redo STAGE")

    def write_table(
        self, name: str, table: pa.Table, *, rows: int | None = None, report: str | None = None
    ) -> None:
        """One Parquet file, with a report in its metadata and `rows` rows a row group."""
        if report is not None:
            table = table.replace_schema_metadata({REPORT: report})
        codec = {n: "NONE" if n in _RAW else "ZSTD" for n in table.column_names}
        words = [f.name for f in table.schema if pa.types.is_string(f.type)]
        out = pa.BufferOutputStream()
        pq.write_table(
            table, out, rows, compression=codec, use_dictionary=words, write_page_checksum=True
        )
        self.write(name, out.getvalue())


class Tables(Folder):
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
        report: str,
        *,
        rejects: pa.Table | None = None,
        stage: str = "",
    ) -> None:
        """Write a shard; with it the unit of work is finished. Its rejects are written before."""
        if rejects is not None and rejects.num_rows:
            self.write_table(self.name(f"rejects/stage={stage}", bucket, shard), rejects)
        group = 64 if _RAW & set(rows.column_names) else None
        self.write_table(self.name(table, bucket, shard), rows, rows=group, report=report)

    def committed(self, table: str) -> dict[tuple[int, int], bytes]:
        """(bucket, shard) -> report of every finished shard of a table."""
        names = [n for n in self.files(table) if n.endswith(".parquet")]
        readers = 1 if self.local else 16  # a disk's footers are there at once
        with ThreadPoolExecutor(readers) as pool:
            return dict(pool.map(self._report, names))

    def report(self, table: str, bucket: int, shard: int) -> str | None:
        """The report of a shard, or None where it isn't finished."""
        try:
            return self._report(self.name(table, bucket, shard))[1].decode()
        except FileNotFoundError:
            return None

    def _report(self, name: str) -> tuple[tuple[int, int], bytes]:
        _, bucket, file = name.rsplit("/", 2)
        key = int(bucket.removeprefix("bucket=")), int(file[len("shard-") : -len(".parquet")])
        try:
            schema = pq.read_schema(self.at(name), filesystem=self.fs)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._damaged(name, error) from None
        return key, (schema.metadata or {}).get(REPORT, b"")

    def ensure(self, table: str) -> None:
        """Make an empty table where a stage had no row to write; a folder of models is none."""
        base = table.partition("/")[0]
        if base in TABLES and not self.exists(table):
            self.write_table(f"{table}/bucket=0/empty.parquet", TABLES[base].empty_table())

    def dataset(self, table: str) -> pads.Dataset:
        """All rows of a table or of one of its files, with its folders as columns (hive).

        Raises:
            UserError: its first file is damaged, and which table.
        """
        try:
            found = pads.dataset(self.at(table), filesystem=self.fs, partitioning="hive")
            check_plain(found.schema)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._damaged(table, error) from None
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

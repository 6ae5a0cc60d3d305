"""A folder at a URI: local, s3://, gs://, https:// through fsspec. Only here are URIs opened.

A file appears whole or not at all: objects are put in one piece, local files are written beside
their place and renamed. So a file that exists is a finished unit of work.
"""

import errno
import json
import os
import posixpath
import re
import uuid
from collections.abc import Callable
from typing import IO, Any, cast
from urllib.parse import urlsplit

import aiohttp
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from landmark_ray.data.retry import RetryingFile, is_transient, with_retries
from landmark_ray.data.schemas import check_plain
from landmark_ray.errors import UserError, redact_url

STATS = b"landmark_ray.report"
RAW = {"jpeg", "keypoints", "descriptors"}
"""Columns of bytes that no codec makes smaller."""

PART = re.compile(r"\.[0-9a-f]{32}\.part")
"""Name of a file that is being written."""


class Store:
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
        return redact_url(self.uri)

    @property
    def real_path(self) -> str:
        """Path on its file system; of a local folder the real one, without links."""
        return os.path.realpath(self.path or "/") if self.local else posixpath.normpath(self.path)

    def path_of(self, name: str) -> str:
        """Path of a file of this folder on its file system.

        Raises:
            UserError: the name, which may come from a file, leads out of the folder.
        """
        if ".." in name.split("/"):
            raise UserError(f"{self.uri}: the name {name!r} leads out of this folder")
        return f"{self.path}/{name}" if name else self.path

    def call(self, work: Callable[..., Any], name: str, *args: Any, **named: Any) -> Any:
        """What a method of the file system returns for a file; a remote one is tried patiently."""
        if self.local:
            return work(self.path_of(name), *args, **named)
        try:
            return with_retries(f"{self.uri}/{name}", work, self.path_of(name), *args, **named)
        except aiohttp.ClientResponseError as error:
            if error.status in (401, 403):  # what S3 says of a missing file to who mayn't list
                raise FileNotFoundError(name) from None
            raise

    def exists(self, name: str = "") -> bool:
        """Whether there is such a file or folder."""
        strict = {"strict": True} if self.web else {}  # else a server that is ill has no file
        try:
            return bool(self.call(self.fs.exists, name, **strict))
        except FileNotFoundError:
            return False

    def size(self, name: str) -> int:
        """Bytes of a file; 0 where a web server doesn't say.

        Raises:
            FileNotFoundError: there is none.
        """
        return int(self.call(self.fs.info, name)["size"] or 0)

    def open(self, name: str) -> IO[bytes] | RetryingFile:
        """A file, for reading from its beginning to its end."""
        file = self.call(self.fs.open, name, "rb", cache_type="readahead")
        return file if self.local else RetryingFile(f"{self.uri}/{name}", file)

    def read(self, name: str) -> bytes:
        """A whole file."""
        return cast(bytes, self.call(self.fs.cat_file, name))

    def write(self, name: str, data: bytes | pa.Buffer, *, durable: bool = True) -> None:
        """Make or replace a file, whole or not at all.

        Args:
            name: its path in the folder.
            data: what is in it.
            durable: it outlives a power cut, not just this process.

        Raises:
            UserError: there is no space left.
        """
        path = self.path_of(name)
        if not self.local:
            self.call(self.fs.pipe_file, name, bytes(data))
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

    def files(self, name: str = "", *, hidden: bool = False) -> dict[str, int]:
        """Relative name -> size of every file under a folder; hidden ones only if asked for."""
        if not self.exists(name):
            return {}
        self.fs.invalidate_cache()
        found = cast(dict[str, Any], self.call(self.fs.find, name, detail=True))
        names = {
            path[len(self.path) :].lstrip("/"): int(info["size"] or 0)
            for path, info in sorted(found.items())
        }
        names.pop("", None)
        files = {n: s for n, s in names.items() if not n.endswith("/")}  # no mark of a folder
        if hidden:
            return files
        return {n: s for n, s in files.items() if not n.rpartition("/")[2].startswith(".")}

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
            raise self.damaged(name, error) from None

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
            raise self.damaged(name, error) from None

    def open_table(self, name: str) -> pq.ParquetFile:
        """One Parquet file, to read parts of it. Pages are checked against their checksums.

        Raises:
            UserError: the file is missing or damaged, and which.
        """
        try:
            file = pq.ParquetFile(
                self.path_of(name), filesystem=self.fs, page_checksum_verification=True
            )
            check_plain(file.schema_arrow)
            return file
        except FileNotFoundError:
            raise UserError(
                f"{self.uri}/{name} is missing: run its stage with --redo STAGE"
            ) from None
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self.damaged(name, error) from None

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
            raise self.damaged(name, error) from None

    def damaged(self, name: str, error: Exception) -> UserError:
        """What to say of a file that can't be read."""
        if is_transient(error):
            return UserError(f"{self.uri}/{name} can't be read now ({error}); try again")
        why = " ".join(str(error).split())[:300]
        return UserError(f"{self.uri}/{name} is damaged ({why}): run its stage with --redo STAGE")

    def write_table(
        self, name: str, table: pa.Table, *, rows: int | None = None, stats: str | None = None
    ) -> None:
        """One Parquet file, with a report in its metadata and `rows` rows a row group."""
        if stats is not None:
            table = table.replace_schema_metadata({STATS: stats})
        codec = {n: "NONE" if n in RAW else "ZSTD" for n in table.column_names}
        words = [f.name for f in table.schema if pa.types.is_string(f.type)]
        out = pa.BufferOutputStream()
        pq.write_table(
            table, out, rows, compression=codec, use_dictionary=words, write_page_checksum=True
        )
        self.write(name, out.getvalue())

"""A folder at a URI (local, s3://, gs://, https://) through fsspec. URIs are opened only here.

A file appears whole or not at all: remote objects are put in one piece, and local files are written
under another name and renamed. So a file that exists is complete.
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
from landmark_ray.errors import UserError, redact_url, shortened

STATS = b"landmark_ray.report"
"""Key of a task's counts in the metadata of a file."""

RAW = {"jpeg", "keypoints", "descriptors"}
"""Columns of bytes that compression does not make smaller."""

PART = re.compile(r"\.[0-9a-f]{32}\.part")
"""Name of a file that is being written."""


def split_uri(uri: str) -> tuple[str, str]:
    """Return the URI of the folder of a file, and the name of the file in it."""
    folder, _, name = uri.rpartition("/")
    return folder or ("/" if uri.startswith("/") else "."), name


def read_uri(uri: str) -> bytes:
    """Read the file at a URI.

    Raises:
        UserError: There is no such file, or it cannot be read.
    """
    folder, name = split_uri(uri)
    try:
        return Store(folder).read(name)
    except FileNotFoundError:
        raise UserError(f"there is no file {redact_url(uri)}") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{redact_url(uri)} cannot be read: {reason}") from None


class Store:
    """A folder at a URI.

    Attributes:
        uri: The URI, with its password; the absolute path of a local folder.
        fs: File system of fsspec.
        path: Path on the file system.
        local: Whether the folder is on this machine.
        web: Whether the folder is on a web server, which cannot list it.

    Raises:
        UserError: When constructed: the protocol of the URI is unknown.
    """

    def __init__(self, uri: str) -> None:
        """Parse the URI; nothing is opened yet."""
        self.uri = uri.rstrip("/") or "/"
        try:
            urlsplit(self.uri)
            # workers write files: a listing that this process keeps would hide them
            self.fs, path = fsspec.url_to_fs(self.uri, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise UserError(f"{uri}: {error}") from None
        self.path = path.rstrip("/")
        protocol = self.fs.protocol
        self.local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)
        if self.local:
            if ".." in self.path.split("/"):  # `missing/../there` exists once `missing` is made
                self.path = os.path.realpath(self.path).rstrip("/")
            self.uri = self.path  # absolute, because a worker may have another working folder
        self.web = "https" in protocol

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the URI, because an open connection belongs to one process."""
        return (type(self), (self.uri,))

    @property
    def shown(self) -> str:
        """The URI without a password."""
        return redact_url(self.uri)

    @property
    def real_path(self) -> str:
        """Path on the file system; links in a local path are resolved."""
        return os.path.realpath(self.path or "/") if self.local else posixpath.normpath(self.path)

    def path_of(self, name: str) -> str:
        """Return the path of a file of this folder on the file system.

        Raises:
            UserError: The name, which may come from an untrusted file, leads out of the folder.
        """
        if ".." in name.split("/"):
            raise UserError(f"{self.uri}: the name {name!r} leads out of this folder")
        return f"{self.path}/{name}" if name else self.path

    def call(self, work: Callable[..., Any], name: str, *args: Any, **named: Any) -> Any:
        """Call a method of the file system for a file; retry it if the store is remote.

        Args:
            work: Method of the file system, or function of a local path.
            name: Name of the file in this folder.
            *args: Further arguments.
            **named: Keyword arguments.

        Raises:
            FileNotFoundError: There is no such file.
            UserError: The store fails repeatedly or denies access.
        """
        if self.local:
            return work(self.path_of(name), *args, **named)
        try:
            return with_retries(f"{self.uri}/{name}", work, self.path_of(name), *args, **named)
        except aiohttp.ClientResponseError as error:
            if error.status in (401, 403):  # S3's answer for a missing file if listing is denied
                raise FileNotFoundError(name) from None
            raise

    def exists(self, name: str = "") -> bool:
        """Return whether there is such a file or folder."""
        strict = {"strict": True} if self.web else {}  # else a failing server seems to lack files
        try:
            return bool(self.call(self.fs.exists, name, **strict))
        except FileNotFoundError:
            return False

    def size(self, name: str) -> int:
        """Return the bytes of a file, or 0 if a web server does not say.

        Raises:
            FileNotFoundError: There is no such file.
        """
        return int(self.call(self.fs.info, name)["size"] or 0)

    def open(self, name: str) -> IO[bytes] | RetryingFile:
        """Open a file for reading from beginning to end."""
        file = self.call(self.fs.open, name, "rb", cache_type="readahead")
        return file if self.local else RetryingFile(f"{self.uri}/{name}", file)

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        return cast(bytes, self.call(self.fs.cat_file, name))

    def write(self, name: str, data: bytes | pa.Buffer, *, durable: bool = True) -> None:
        """Create or replace a file, as a whole or not at all.

        Args:
            name: Name in the folder.
            data: Content of the file.
            durable: Whether the file must survive a power cut, and not only the end of the process.

        Raises:
            UserError: There is no space left.
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
                    f"{path}: no space left; free some, and run the same command again"
                ) from None
            raise

    def files(self, name: str = "", *, hidden: bool = False) -> dict[str, int]:
        """Return relative name -> bytes of every file below a folder, without hidden files.

        Args:
            name: Subfolder; all of this folder by default.
            hidden: List hidden files, too.
        """
        if not self.exists(name):
            return {}
        entries = cast(dict[str, Any], self.call(self.fs.find, name, detail=True))
        names = {
            path[len(self.path) :].lstrip("/"): int(info["size"] or 0)
            for path, info in sorted(entries.items())
        }
        names.pop("", None)
        files = {n: s for n, s in names.items() if not n.endswith("/")}  # objects that mark folders
        if hidden:
            return files
        return {n: s for n, s in files.items() if not n.rpartition("/")[2].startswith(".")}

    def read_json(self, name: str) -> Any:
        """Read a JSON file; return None if there is no such file.

        Raises:
            UserError: The file is damaged; the text names it.
        """
        try:
            return json.loads(self.read(name))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            raise self.damaged(name, error) from None

    def write_json(self, name: str, value: Any, *, durable: bool = True) -> None:
        """Create or replace a JSON file."""
        self.write(name, json.dumps(value, indent=1).encode(), durable=durable)

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Read a Parquet file.

        Raises:
            UserError: The file is missing or damaged; the text names it.
        """
        try:
            return self.open_table(name).read(columns)
        except (pa.ArrowException, OSError) as error:
            raise self.damaged(name, error) from None

    def open_table(self, name: str) -> pq.ParquetFile:
        """Open a Parquet file, to read parts of it. Checksums of its pages are checked.

        Raises:
            UserError: The file is missing or damaged; the text names it.
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
        """Read a row group of a file that `open_table` opened.

        Raises:
            UserError: The file is damaged; the text names it.
        """
        try:
            return file.read_row_group(group, columns)
        except (pa.ArrowException, OSError) as error:
            raise self.damaged(name, error) from None

    def damaged(self, name: str, error: Exception) -> UserError:
        """Return the error to raise for a file that cannot be read."""
        if is_transient(error):
            return UserError(f"{self.uri}/{name} can't be read now ({error}); try again")
        why = shortened(error)
        return UserError(f"{self.uri}/{name} is damaged ({why}): run its stage with --redo STAGE")

    def write_table(
        self, name: str, table: pa.Table, *, rows: int | None = None, stats: str | None = None
    ) -> None:
        """Create or replace a Parquet file.

        Args:
            name: Name in the folder.
            table: The rows.
            rows: Rows in a row group; pyarrow's default when not given.
            stats: Counts of a task as JSON, which are stored in the metadata.
        """
        if stats is not None:
            table = table.replace_schema_metadata({STATS: stats})
        codec = {n: "NONE" if n in RAW else "ZSTD" for n in table.column_names}
        words = [f.name for f in table.schema if pa.types.is_string(f.type)]
        out = pa.BufferOutputStream()
        pq.write_table(
            table, out, rows, compression=codec, use_dictionary=words, write_page_checksum=True
        )
        self.write(name, out.getvalue())

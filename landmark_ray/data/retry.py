"""Retries for remote stores: transient errors are tried again after waits that become longer.

The clients of S3 and Google Storage also retry by themselves; the one of web servers does not.
"""

import errno
from collections.abc import Callable
from typing import IO, Any, TypeVar

import aiohttp
from fsspec.exceptions import FSTimeoutError
from tenacity import Retrying as _Retrying
from tenacity import (
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from landmark_ray.errors import UserError, redact_url

TRIES = 8
MAX_WAIT_S = 30.0
"""Longest wait, in seconds. The first waits are a second or less, all waits about a minute."""

_TRANSIENT = {errno.EIO, errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO)}
"""Error numbers that s3fs gives a broken answer, SlowDown and InternalError."""

T = TypeVar("T")


def is_transient(error: BaseException) -> bool:
    """Return whether the same operation may succeed the next time."""
    if isinstance(error, FileNotFoundError) and error.__cause__:
        return is_transient(error.__cause__)  # fsspec's web file system wraps all errors in this
    status = getattr(error, "status", None)
    if type(error).__module__.startswith("gcsfs."):
        status = getattr(error, "code", None)
    if isinstance(status, int):
        return status >= 500 or status in (408, 429)
    if isinstance(error, OSError) and error.errno in _TRANSIENT:
        return True
    if _kinds(error) & {"ConnectionError", "HTTPClientError"}:
        return True
    return isinstance(error, aiohttp.ClientError | FSTimeoutError | TimeoutError | ConnectionError)


def _kinds(error: BaseException) -> set[str]:
    """Return the class names of an error of S3's client, without the slow import of botocore."""
    return {
        kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith("botocore.")
    }


def with_retries(uri: str, work: Callable[..., T], *args: Any, **named: Any) -> T:
    """Return the result of an operation on a remote store, which is tried up to `TRIES` times.

    Args:
        uri: The file or folder, for error messages.
        work: The operation.
        *args: Its arguments.
        **named: Its keyword arguments.

    Raises:
        UserError: All tries failed, or the store denies access; the text names `uri`.
    """
    trying = _Retrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(multiplier=0.5, max=MAX_WAIT_S),
        retry=retry_if_exception(is_transient),
        reraise=True,
    )
    try:
        return trying(work, *args, **named)
    except Exception as error:
        cause = error.__cause__ if isinstance(error, FileNotFoundError) else None
        why = redact_url(" ".join(f"{type(error).__name__}: {cause or error}".split()))[:200]
        if not is_transient(error):
            of_google = type(error).__module__.startswith("gcsfs.")
            of_google |= isinstance(error, OSError) and str(error).startswith("Forbidden")
            refused = isinstance(error, PermissionError | aiohttp.InvalidURL)
            if _kinds(error) or refused or of_google:
                raise UserError(f"{uri}: {why}") from None
            raise
        raise UserError(
            f"{uri}: the store failed {TRIES} times in a row ({why}); the same command goes on "
            "when the store works again"
        ) from None


class RetryingFile:
    """A remote file that is read from beginning to end; a failed read is repeated."""

    def __init__(self, uri: str, raw: IO[bytes]) -> None:
        """Wrap an open file; nothing is read yet."""
        self.uri, self.raw = uri, raw

    def __enter__(self) -> "RetryingFile":
        """Return the file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.raw.close()

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes; all bytes by default."""
        return with_retries(self.uri, self.raw.read, size)

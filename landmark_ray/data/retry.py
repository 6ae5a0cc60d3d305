"""Patience with stores that are far away: what fails for a moment is tried again, later each time.

Clients of S3 and Google Storage retry on their own, too; a web server's doesn't.
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

from landmark_ray.errors import UserError

TRIES = 8
LONGEST_S = 30.0
"""Of a wait. The first ones are of a second or less; all together last about a minute."""

_ILL = {errno.EIO, errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO)}
"""As s3fs calls a broken answer, SlowDown and InternalError."""

T = TypeVar("T")


def is_transient(error: BaseException) -> bool:
    """Whether an error may be gone the next time."""
    if isinstance(error, FileNotFoundError) and error.__cause__:
        return is_transient(error.__cause__)  # as the web's file system calls all errors
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status >= 500 or status in (408, 429)
    if isinstance(error, OSError) and error.errno in _ILL:
        return True
    if _kinds(error) & {"ConnectionError", "HTTPClientError"}:
        return True
    return isinstance(error, aiohttp.ClientError | FSTimeoutError | TimeoutError | ConnectionError)


def _kinds(error: BaseException) -> set[str]:
    """Names of the classes of an error of S3's client, whose import would cost every job time."""
    return {
        kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith("botocore.")
    }


def with_retries(uri: str, work: Callable[..., T], *args: Any, **named: Any) -> T:
    """The result of work on a remote store.

    Raises:
        UserError: the store failed all the time, or refuses; names it.
    """
    trying = _Retrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(multiplier=0.5, max=LONGEST_S),
        retry=retry_if_exception(is_transient),
        reraise=True,
    )
    try:
        return trying(work, *args, **named)
    except Exception as error:
        cause = error.__cause__ if isinstance(error, FileNotFoundError) else None
        why = " ".join(f"{type(error).__name__}: {cause or error}".split())[:200]
        if not is_transient(error):
            if _kinds(error) or isinstance(error, PermissionError | aiohttp.InvalidURL):
                raise UserError(f"{uri}: {why}") from None
            raise
        raise UserError(
            f"{uri}: the store failed {TRIES} times in a row ({why}); the same command goes on "
            "when it is well again"
        ) from None


class RetryingFile:
    """A remote file, read from its beginning to its end; a failed read begins where it stood."""

    def __init__(self, uri: str, raw: IO[bytes]) -> None:
        """Read nothing yet."""
        self.uri, self.raw = uri, raw

    def __enter__(self) -> "RetryingFile":
        """As a file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.raw.close()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        return with_retries(self.uri, self.raw.read, size)

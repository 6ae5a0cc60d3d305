"""Report unexpected errors: one line for people, and a log file with the trace for developers."""

import contextlib
import json
import os
import platform
import re
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from landmark_ray.errors import UserError, redact_url

UNEXPECTED_STATUS = 1
"""Exit status of a command that ends with an unexpected error."""

BROKEN_PIPE_STATUS = 141
"""Exit status of a command whose output is closed, for example by `| head`: 128 + SIGPIPE."""

_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL", re.IGNORECASE)
_LETTERS = 300
"""Maximum length of the error's own text in the printed line."""

_RAY_ENDED = {
    *("RaySystemError", "LocalRayletDiedError", "NodeDiedError", "OwnerDiedError", "RpcError"),
    *("RayActorError", "ActorDiedError", "ActorUnavailableError", "WorkerCrashedError"),
    *("ObjectLostError", "ObjectFetchTimedOutError", "ReferenceCountingAssertionError"),
}
"""Names of Ray's exceptions that mean that a cluster, node or process has ended."""


@contextlib.contextmanager
def silenced(number: int) -> Iterator[None]:
    """Discard what is printed to stdout (1) or stderr (2), also by native libraries."""
    (sys.stdout if number == 1 else sys.stderr).flush()
    screen = os.dup(number)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), number)
    try:
        yield
    finally:
        os.dup2(screen, number)
        os.close(screen)


@contextlib.contextmanager
def during(stage: str) -> Iterator[None]:
    """Note the name of a stage on every unexpected error that is raised in the context."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        error.add_note(f"stage {stage}")
        raise


def report_error(error: BaseException, where: str) -> None:
    """Write the trace of an error to a file, and print a line that says what happened.

    Args:
        error: The unexpected error.
        where: What was running; the error's own note of a stage takes precedence.
    """
    notes = [note for note in getattr(error, "__notes__", []) if note.startswith("stage ")]
    where = notes[0] if notes else where
    file = write_trace(error, where)
    trace = f"the details are in {file}" if file else "no file could be written for the details"
    print_line(f"error: {_clean(_line(error, where, trace))}")


def _line(error: BaseException, where: str, trace: str) -> str:
    cause = cause_of(error)
    kind = type(cause).__name__
    text = " ".join(str(cause).split())[:_LETTERS]
    if isinstance(cause, MemoryError) or kind == "OutOfMemoryError":
        return (
            f"out of memory in {where}: close other programs, or let fewer tasks run at once "
            "(--cluster.cpus, or memory_gb of the stage); the same command continues from here; "
            f"{trace}"
        )
    if isinstance(cause, FileNotFoundError):
        return (
            f"a file is missing in {where}: {cause.filename or text}: if it belongs to --root, "
            "another program has deleted or moved it: put it back, or run its stage with --redo; "
            f"{trace}"
        )
    if kind in _RAY_ENDED or (isinstance(cause, ConnectionError) and "ray" in text.lower()):
        return (
            f"Ray, or one of its processes, ended in {where}: it was stopped, or lacked memory; "
            f"the same command continues from here; {kind}: {text}; {trace}"
        )
    return f"something unexpected happened in {where}: {kind}: {text}; {trace}; please report it"


def serialize_error(error: BaseException) -> str:
    """Return an exception as text for another process, because Ray Data loses what it wraps."""
    error = cause_of(error)
    system = error if isinstance(error, OSError) else OSError()
    return json.dumps(
        {
            "kind": type(error).__name__,
            "text": str(error),
            "system": [system.errno, system.strerror, system.filename],
            "memory": isinstance(error, MemoryError),
            "trace": "".join(traceback.format_exception(error)),
        },
        default=str,
    )


def deserialize_error(text: str) -> Exception:
    """Make an exception from the text that `serialize_error` returned, with the trace as a note.

    An OSError and a MemoryError keep their type; any other error becomes a RuntimeError whose class
    has the original name.
    """
    value = json.loads(text)
    error: Exception
    if value["system"][0]:
        error = OSError(*value["system"])
    elif value["memory"]:
        error = MemoryError(value["text"])
    else:
        error = type(value["kind"], (RuntimeError,), {})(value["text"])
    error.add_note(f"In a worker:\n{value['trace']}")
    return error


def cause_of(error: BaseException) -> BaseException:
    """Return the exception of a worker that Ray has wrapped, or the error itself."""
    while True:
        inner = getattr(error, "cause", None)
        if not isinstance(inner, BaseException):
            failed = getattr(error, "worker_failures", None)
            inner = next(iter(failed.values()), None) if isinstance(failed, dict) else None
        inner = inner or getattr(error, "_base_exc", None)  # of Ray Train
        if not isinstance(inner, BaseException) or inner is error:
            return error
        error = inner


def write_trace(error: BaseException, where: str) -> str | None:
    """Write the trace of an error to a log file.

    The file is in $XDG_STATE_HOME/landmark_ray (~/.local/state/landmark_ray) or, if that is not
    writable, in the folder for temporary files. It is never in a root.

    Returns:
        The name of the file, or None if no file could be written.
    """
    packages = ", ".join(f"{name} {version(name)}" for name in ("landmark_ray", "ray", "numpy"))
    text = "\n".join(
        [
            time.strftime("%Y-%m-%d %H:%M:%S %z"),
            f"{where}: {' '.join(sys.argv)}",
            f"python {platform.python_version()}, {packages}, {platform.platform()}",
            "",
            *traceback.format_exception(error),
        ]
    )
    stem = f"error-{time.strftime('%Y%m%d-%H%M%S')}-"
    for folder in (_state, tempfile.gettempdir):
        with contextlib.suppress(OSError, RuntimeError):
            at, name = tempfile.mkstemp(".log", stem, folder())  # of this user alone
            with open(at, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(_clean(text))
            return name
    return None


def _state() -> str:
    """Return the folder for log files, and create it.

    Raises:
        OSError: It cannot be created.
    """
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    folder = Path(home) / "landmark_ray"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def _clean(text: str) -> str:
    """Replace passwords by `***`: those in addresses, and those in environment variables."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET.search(name) and not os.path.exists(value):
            text = text.replace(value, "***")
    return redact_url(text)


def print_line(line: str) -> None:
    """Print a line to stderr; do nothing if it is closed."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def is_output_closed() -> bool:
    """Return whether stdout or stderr is a closed pipe, and redirect closed ones to /dev/null."""
    left = [stream for stream in (sys.stdout, sys.stderr) if _is_closed(stream)]
    for stream in left:
        with contextlib.suppress(OSError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, stream.fileno())
            os.close(nothing)
    return bool(left)


def _is_closed(stream: TextIO) -> bool:
    try:
        stream.flush()  # what couldn't be written is still there
    except BrokenPipeError:
        return True
    except (OSError, ValueError):
        return False
    return False


def thread_hook(args: threading.ExceptHookArgs) -> None:
    """Report the error that ends a thread (for `threading.excepthook`)."""
    if args.exc_value is not None and args.exc_type is not SystemExit:
        report_error(args.exc_value, args.thread.name if args.thread else "a thread")

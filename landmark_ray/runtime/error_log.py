"""What nobody expected: a line for people, and a log file with the trace for who mends it."""

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
"""Of a command that ended so."""

BROKEN_PIPE_STATUS = 141
"""As of a program that SIGPIPE ends: `… | head` has read enough."""

_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL", re.IGNORECASE)
_LETTERS = 300
"""Of an error's own text in the line."""

_RAY_ENDED = {
    *("RaySystemError", "LocalRayletDiedError", "NodeDiedError", "OwnerDiedError", "RpcError"),
    *("RayActorError", "ActorDiedError", "ActorUnavailableError", "WorkerCrashedError"),
    *("ObjectLostError", "ObjectFetchTimedOutError", "ReferenceCountingAssertionError"),
}
"""Ray's exceptions of a cluster, node or process that is gone."""


@contextlib.contextmanager
def during(stage: str) -> Iterator[None]:
    """Let an error of these lines say which stage it comes from."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        error.add_note(f"stage {stage}")
        raise


def report_error(error: BaseException, where: str) -> None:
    """Print the line that says what happened, and where its trace is.

    Args:
        error: nobody's mistake that we know of.
        where: what was running, where no stage was.
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
            f"out of memory in {where}: close other programs, or let less run at once "
            f"(--cluster.cpus, or memory_gb of the stage); the same command goes on; {trace}"
        )
    if isinstance(cause, FileNotFoundError):
        return (
            f"a file is missing in {where}: {cause.filename or text}: if it is one of --root, "
            f"something else has deleted or moved it: put it back, or --redo its stage; {trace}"
        )
    if kind in _RAY_ENDED or (isinstance(cause, ConnectionError) and "ray" in text.lower()):
        return (
            f"Ray, or one of its processes, ended in {where}: it was stopped, or lacked memory; "
            f"the same command goes on from here; {kind}: {text}; {trace}"
        )
    return f"something unexpected happened in {where}: {kind}: {text}; {trace}; please report it"


def serialize_error(error: BaseException) -> str:
    """An exception as text, for another process: Ray Data forgets what it wraps."""
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
    """Make an exception of the text of `serialize_error`; its trace is a note of it.

    Errors of files and of memory stay what they are.
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
    """What lies under what Ray wraps around an exception of a worker."""
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
    """Write an error's trace; the file's name, or None where nothing can be written.

    It lies in $XDG_STATE_HOME/landmark_ray (~/.local/state/landmark_ray), else among the
    temporary files: never in a root, whose files are tables.
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
    """Where programs keep such files."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    folder = Path(home) / "landmark_ray"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def _clean(text: str) -> str:
    """Without passwords: those of addresses, and those that the environment holds."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET.search(name) and not os.path.exists(value):
            text = text.replace(value, "***")
    return redact_url(text)


def print_line(line: str) -> None:
    """Print a line for people, if anybody still reads."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def is_output_closed() -> bool:
    """Whether a pipe that we print to is closed; from then on nothing is printed to it."""
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
    """What is printed when a thread ends with an error."""
    if args.exc_value is not None and args.exc_type is not SystemExit:
        report_error(args.exc_value, args.thread.name if args.thread else "a thread")

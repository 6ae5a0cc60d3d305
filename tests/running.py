"""jobs/NAME.py: in a process of its own, as a person runs it, or in this one, in far less time."""

import contextlib
import io
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

REPO = Path(__file__).parents[1]

Done = subprocess.CompletedProcess[str]


def in_a_process(name: str, *args: object, env: dict[str, str] | None = None) -> Done:
    """Run a job with a Python and a Ray of its own."""
    command = [sys.executable, REPO / "jobs" / f"{name}.py", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=900)


def here(name: str, *args: object) -> Done:
    """Run a job's script in this process, from its first line to its exit status.

    All jobs share the imports and one Ray, whose workers stay warm. What this can't show takes a
    process: other options of the cluster's, another environment, a kill, what native code prints.
    """
    words = [str(REPO / "jobs" / f"{name}.py"), *map(str, args)]
    own = [word for word in words if word.startswith("--cluster.")]
    assert not own, f"{own} is of the Ray that is shared: run it in a process"
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    status, ends = 0, signal.getsignal(signal.SIGTERM)
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch.dict(os.environ),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        os.environ.pop("RAY_ADDRESS", None)
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            signal.signal(signal.SIGTERM, ends)  # Ray's own would be taken for a failed test
    said = (stream.buffer.getvalue().decode() for stream in (out, err))
    return subprocess.CompletedProcess(words, status, *said)


def no_ray_here() -> None:
    """Leave the Ray that jobs shared; the next one starts another."""
    ray = sys.modules.get("ray")
    if ray and ray.is_initialized():
        ray.shutdown()

"""Whatever ends a command is one line; the trace of what nobody expected is in a file."""

import errno
import io
import os
import sys
import threading
import traceback
from pathlib import Path

import pytest
from ray.exceptions import RayTaskError, WorkerCrashedError

from landmark_ray import cli
from landmark_ray.errors import UserError
from landmark_ray.runtime import error_log
from landmark_ray.runtime.error_log import during
from landmark_ray.runtime.tasks import shard_task
from tests.ray_private import UserExceptionWithTraceback


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "landmark_ray"


def ended(error: BaseException, capsys, stage: str = "") -> tuple[int, str]:
    """Status and line of a command that an error ends."""

    def action() -> None:
        if not stage:
            raise error
        with during(stage):
            raise error

    with pytest.raises(SystemExit) as end:
        cli.guard(action)
    line = capsys.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1
    assert "Traceback" not in line
    return end.value.code, line


def test_the_unexpected_is_a_line_and_a_file_with_the_trace(state, capsys):
    status, line = ended(IndexError("list index out of range"), capsys, "resize")
    assert status == 1
    assert "something unexpected happened in stage resize: IndexError: list index" in line
    (file,) = state.iterdir()
    assert str(file) in line and "please report it" in line
    text = file.read_text()
    assert "Traceback" in text and "test_unexpected.py" in text and "stage resize" in text
    assert file.stat().st_mode & 0o077 == 0, "others can read it"


def test_lines_of_an_error_are_one(state, capsys):
    ended(ValueError("first\nsecond\n" + 400 * "x"), capsys)


def test_secrets_are_in_neither(state, capsys, monkeypatch):
    monkeypatch.setenv("LANDMARK_RAY_KEY", "sesame-open-sesame")
    monkeypatch.setattr(sys, "argv", ["x.py", "--root", "s3://me:pw@host/root?token=abcdef"])
    secrets = ("sesame-open-sesame", "pw@", "abcdef")
    _, line = ended(OSError("https://me:pw@host/x?sig=abcdef, sesame-open-sesame"), capsys)
    (file,) = state.iterdir()
    for text in (line, file.read_text()):
        assert not [secret for secret in secrets if secret in text]


def test_log_lies_elsewhere_when_home_is_read_only(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _, line = ended(KeyError("x"), capsys)
    (file,) = tmp_path.glob("error-*.log")
    assert str(file) in line


def test_line_is_there_when_nothing_can_be_written(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    status, line = ended(KeyError("x"), capsys)
    assert status == 1 and "KeyError: 'x'; no file could be written" in line


def test_ray_says_what_a_worker_raised(state, capsys):
    wrapped = RayTaskError("work", "a long trace", ZeroDivisionError("division by zero"))
    _, line = ended(wrapped.as_instanceof_cause(), capsys, "match")
    assert "in stage match: ZeroDivisionError: division by zero; " in line
    (file,) = state.iterdir()
    assert "a long trace" in file.read_text()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory in stage train"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/root/a"), "a file is missing in stage"),
        (WorkerCrashedError(), "Ray, or one of its processes, ended in stage train"),
    ],
)
def test_commonest_kinds_have_words_of_their_own(error, words, state, capsys):
    status, line = ended(error, capsys, "train")
    assert status == 1 and words in line and "the details are in" in line


@pytest.mark.parametrize("wrap", [False, True])
def test_a_full_disk_is_for_people_to_mend(wrap, state, capsys):
    full = OSError(errno.ENOSPC, "No space left on device", "/data/x")
    error = RayTaskError("work", "trace", full).as_instanceof_cause() if wrap else full
    status, line = ended(error, capsys)
    assert (status, line) == (
        2,
        "error: /data/x: no space left; free some, and run the same command again\n",
    )
    assert not state.exists()


def test_what_people_can_mend_has_no_log(state, capsys):
    assert ended(UserError("--root is missing"), capsys, "sample")[0] == 2
    assert not state.exists()


def test_reader_that_left_is_no_error(state, capsys, monkeypatch):
    """`… | head` closes the pipe: nothing is said, and nothing is left to fail at the end."""
    reading, writing = os.pipe()
    os.close(reading)
    pipe = io.TextIOWrapper(io.BufferedWriter(io.FileIO(writing, "w")))
    monkeypatch.setattr(sys, "stdout", pipe)
    with pytest.raises(SystemExit) as end:
        cli.guard(lambda: print("much"))
    assert end.value.code == error_log.BROKEN_PIPE_STATUS
    pipe.close()  # what is left goes nowhere
    assert capsys.readouterr().err == ""
    assert not state.exists()


def test_broken_pipe_of_something_else_is_unexpected(state, capsys):
    assert ended(BrokenPipeError(errno.EPIPE, "Broken pipe"), capsys)[0] == 1


def test_thread_that_ends_says_so_in_a_line(state, capsys, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", error_log.thread_hook)

    def fails() -> None:
        raise LookupError("gone")

    thread = threading.Thread(target=fails, name="meter")
    thread.start()
    thread.join()
    line = capsys.readouterr().err
    assert "something unexpected happened in meter: LookupError: gone" in line
    assert line.count("\n") == 1 and len(list(Path(state).iterdir())) == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/data/x"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/x"),
        MemoryError("1 GB"),
        ZeroDivisionError("division by zero"),
    ],
)
def test_error_of_a_unit_of_work_reaches_the_driver_as_what_it_is(error):
    """Ray Data would make a UserCodeException of it, and forget the rest."""

    def work(unit):
        raise error

    row = shard_task(work)({"bucket": 0})
    assert shard_task(lambda unit: {"rows": 1})(row) == row, "later steps pass it through"
    found = error_log.deserialize_error(row["raised"])
    assert type(found).__name__ == type(error).__name__
    assert str(found) == str(error)
    assert isinstance(found, (OSError, MemoryError)) == isinstance(error, (OSError, MemoryError))
    assert "in work" in "".join(traceback.format_exception(found))


def test_cause_of_a_training_is_what_its_worker_raised():
    failed = TrainingFailedErrorLike({0: UserExceptionWithTraceback(KeyError("x"), "trace")})
    assert error_log.cause_of(failed).args == ("x",)


class TrainingFailedErrorLike(Exception):
    """Of Ray Train, without Ray Train."""

    def __init__(self, failures):
        self.worker_failures = failures

"""The command line that all jobs share: options in, stages run, errors in one line."""

import argparse
import difflib
import errno
import os
import re
import sys
import threading
import tomllib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import CliSettingsSource, SettingsError

from landmark_ray import pipeline
from landmark_ray.config import STAGES, Config
from landmark_ray.config.base import Options
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError, redact_url
from landmark_ray.runtime import error_log, ledger, receipts

Any_ = TypeVar("Any_", bound=Options)
C = TypeVar("C", bound=Config)

_MENDED = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG),
    *(errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
}
"""Errors of files that a person can mend."""


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are UserErrors and that knows no abbreviations."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, allow_abbrev=False)

    def error(self, message: str) -> Any:
        unknown = re.match(r"unrecognized arguments: (--\S+)", message)
        if unknown:
            flag = unknown[1].split("=")[0]
            close = difflib.get_close_matches(flag, self._option_string_actions, 1)
            hint = f"did you mean {close[0]}?" if close else "see --help"
            message = f"unknown option {flag}: {hint}"
        raise UserError(message)


def _explain(error: ValidationError, model: type[Options], file: str | None) -> str:
    """The first problem of a configuration, as one line."""
    problem = error.errors()[0]
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        section: Any = model
        for part in problem["loc"][:-1]:
            section = section.model_fields[part].annotation
        close = difflib.get_close_matches(str(problem["loc"][-1]), section.model_fields, 1)
        hint = (
            f"did you mean {close[0]}?" if close else f"there are {', '.join(section.model_fields)}"
        )
        return f"unknown option {name} in {file}; {hint}"
    if problem["type"] == "missing":
        return f"--{name} is missing: {model.model_fields[name].description or 'see --help'}"
    message = problem["msg"].removeprefix("Value error, ")
    value = "" if isinstance(problem["input"], dict) else f", got {problem['input']!r}"
    return f"option --{name}: {message}{value}" if name else message


def _read_toml(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise UserError(f"--config: there is no file {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"--config: {path} cannot be read as toml: {error}") from None


def parse(model: type[Any_], args: Sequence[str], description: str) -> Any_:
    """The configuration that a command line asks for.

    Raises:
        UserError: an unknown option, a value out of range, an unreadable toml file.
    """
    first = _Parser(add_help=False)
    first.add_argument("--config")
    words = [n for n, f in model.model_fields.items() if f.annotation == tuple[str, str]]
    for name in words:  # taken as they are: image ids look like numbers or lists to pydantic
        first.add_argument(f"--{name}", nargs=2)
    known, rest = first.parse_known_args(args)
    file = known.config
    taken = {name: value for name in words if (value := getattr(known, name))}
    parser = _Parser(prog=os.path.basename(sys.argv[0]), description=description)
    try:
        given = CliSettingsSource[Any](model, root_parser=parser)(args=rest)()
        given |= taken | ({"config": file} if file else {})
        return model(**_merge(_read_toml(file) if file else {}, given))
    except ValidationError as error:
        raise UserError(_explain(error, model, file)) from None
    except SettingsError as error:
        raise UserError(str(error)) from None


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _merge(below[key], value) if both else value
    return merged


def main(stages: Sequence[str], description: str, args: Sequence[str] | None = None) -> None:
    """Run the stages that a job names; the whole of a job's `__main__`."""
    guard(lambda: _run(stages, description, sys.argv[1:] if args is None else args))


def _run(stages: Sequence[str], description: str, args: Sequence[str]) -> None:
    several = len(stages) > 1
    config = parse(pipeline.PipelineConfig if several else Config, args, description)
    chosen = config.chosen() if isinstance(config, pipeline.PipelineConfig) else stages
    pipeline.run(config, chosen)


def simple(
    model: type[Any_],
    action: Callable[[Any_], None],
    description: str,
    args: Sequence[str] | None = None,
) -> None:
    """Do what its options say; the whole of a job's `__main__` that has no root."""
    guard(lambda: action(parse(model, sys.argv[1:] if args is None else args, description)))


def report(
    model: type[C],
    action: Callable[[C, Root], None],
    description: str,
    args: Sequence[str] | None = None,
    last: str = "match",
) -> None:
    """Read a root whose stage `last` is finished; the whole of a reporting job's `__main__`."""

    def read() -> None:
        config = parse(model, sys.argv[1:] if args is None else args, description)
        if not config.root:
            raise UserError("--root is missing: a folder or URI for all tables")
        if config.redo:
            raise UserError(f"--redo: this job only reads; give it to jobs/{config.redo}.py")
        tables = Root(config.root)
        run = as_run(config, tables, last)
        receipts.begin(tables)
        action(run, tables)

    guard(read, "stopped: the same command begins anew")


def as_run(config: C, tables: Root, last: str) -> C:
    """A configuration with the options that the tables of a root were made with.

    Args:
        config: of it, only what was given counts.
        tables: the root.
        last: this stage and all before it must be finished, with no other options than given.

    Raises:
        UserError: they are not, and what to do.
    """
    records = {stage: record for stage in STAGES if (record := ledger.read(tables, stage))}
    ran: dict[str, Any] = {}
    for record in records.values():
        for name, value in record["identity"].items():
            section, _, option = name.rpartition(".")
            (ran.setdefault(section, {}) if section else ran)[option] = value
    try:
        merged = type(config)(**_merge(ran, config.model_dump(exclude_unset=True)))
    except ValidationError as error:
        line = _explain(error, type(config), f"{tables.uri}/_ledger")
        raise UserError(f"{line}; another version of this code made these tables") from None
    for stage in STAGES[: STAGES.index(last) + 1]:
        was, now = records.get(stage, {}).get("identity", {}), merged.config_key(stage)
        ledger.finished(tables, stage, was)
        for name in sorted(was | now):
            if name not in was or name not in now:
                raise UserError(
                    f"{tables.uri}: stage {stage} was run by another version of this code, which "
                    f"{'has' if name in was else 'lacks'} the option {name}; run it anew"
                )
            if was[name] != now[name]:
                raise UserError(
                    f"--{name} {now[name]}: {tables.uri} was made with {was[name]}; leave "
                    "that out, or run jobs/pipeline.py with it on another --root"
                )
    return merged


def guard(
    action: Callable[[], None], stopped: str = "stopped: the same command goes on from here"
) -> None:
    """Run an action; whatever ends it is said in one line.

    Status 2 is for what a person can mend, 130 for Ctrl-C, 141 for `| head`, which has read enough,
    and 1 for the unexpected, whose trace is in a file that the line names.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's greetings
    threading.excepthook = error_log.thread_hook
    try:
        action()
        sys.stdout.flush()
    except UserError as error:
        error_log.say(f"error: {redact_url(' '.join(str(error).split()))}")
        sys.exit(2)
    except KeyboardInterrupt:
        error_log.say(stopped)
        sys.exit(130)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and error_log.reader_left():
            sys.exit(error_log.READER_LEFT)
        line = _mended(error_log.cause_of(error))
        if line:
            error_log.say(f"error: {redact_url(line)}")
            sys.exit(2)
        error_log.report(error, os.path.basename(sys.argv[0]))
        sys.exit(error_log.STATUS)


def _mended(error: BaseException) -> str | None:
    """What a person can mend about a file, in a line."""
    if not isinstance(error, OSError):
        return None
    place = str(error.filename or "")[:300]
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{place or 'a disk'}: no space left; free some, and the same command goes on"
    return f"{place}: {error.strerror}" if error.errno in _MENDED and place else None

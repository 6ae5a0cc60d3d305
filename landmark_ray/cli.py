"""The command line of all jobs: parse options, run stages, and report errors in one line."""

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
from landmark_ray.runtime import error_log, interrupts, ledger, receipts

Any_ = TypeVar("Any_", bound=Options)
C = TypeVar("C", bound=Config)

_USER_ERRNOS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG),
    *(errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
}
"""Errors of files that a person can solve."""


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises UserErrors and accepts no abbreviated options."""

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
    """Describe the first problem of a configuration in one line."""
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
    """Read the file of `--config`.

    Raises:
        UserError: It is missing, or it is not valid toml.
    """
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise UserError(f"--config: there is no file {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"--config: {path} cannot be read as toml: {error}") from None


def parse(model: type[Any_], args: Sequence[str], description: str) -> Any_:
    """Parse a command line into a configuration.

    Args:
        model: The class of the configuration.
        args: The arguments of the command line, without the name of the program.
        description: The text at the start of `--help`.

    Raises:
        UserError: An option is unknown or missing, a value is out of range, or the toml file of
            `--config` cannot be read.
    """
    first = _Parser(add_help=False)
    first.add_argument("--config")
    words = [n for n, f in model.model_fields.items() if f.annotation == tuple[str, str]]
    for name in words:  # not parsed by pydantic, to which image ids look like numbers or lists
        first.add_argument(f"--{name}", nargs=2)
    known, rest = first.parse_known_args(args)
    file = known.config
    pairs = {name: value for name in words if (value := getattr(known, name))}
    parser = _Parser(prog=os.path.basename(sys.argv[0]), description=description)
    try:
        options = CliSettingsSource[Any](model, root_parser=parser)(args=rest)()
        options |= pairs | ({"config": file} if file else {})
        return model(**_merge(_read_toml(file) if file else {}, options))
    except ValidationError as error:
        raise UserError(_explain(error, model, file)) from None
    except SettingsError as error:
        raise UserError(str(error)) from None


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge nested options; those of `above` take precedence."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _merge(below[key], value) if both else value
    return merged


def main(stages: Sequence[str], description: str) -> None:
    """Run stages: the `__main__` of the job of a stage, and of jobs/pipeline.py."""
    guard(lambda: _run(stages, description))


def _run(stages: Sequence[str], description: str) -> None:
    several = len(stages) > 1
    config = parse(pipeline.PipelineConfig if several else Config, sys.argv[1:], description)
    chosen = config.chosen() if isinstance(config, pipeline.PipelineConfig) else stages
    pipeline.run(config, chosen)


def simple(model: type[Any_], action: Callable[[Any_], None], description: str) -> None:
    """Run an action with its options: the `__main__` of a job that has no root."""
    guard(lambda: action(parse(model, sys.argv[1:], description)))


def report(
    model: type[C], action: Callable[[C, Root], None], description: str, last: str = "match"
) -> None:
    """Run an action on a finished root: the `__main__` of a job that only reports.

    The action gets the options that the stages up to `last` ran with, and the root.
    """

    def read() -> None:
        config = parse(model, sys.argv[1:], description)
        if not config.root:
            raise UserError("--root is missing: a folder or URI for all tables")
        if config.redo:
            raise UserError(f"--redo: this job only reads; use it with jobs/{config.redo}.py")
        root = Root(config.root)
        recorded = recorded_config(config, root, last)
        receipts.begin(root)
        action(recorded, root)

    guard(read, "stopped: run the same command again")


def recorded_config(config: C, root: Root, last: str) -> C:
    """Return the configuration that the tables of a root were made with.

    Args:
        config: The configuration of the command line; only options that were given count.
        root: The root.
        last: This stage and all stages before it must be finished.

    Raises:
        UserError: A stage is not finished, it was run by another version of this code, or an option
            that was given differs from the recorded one.
    """
    records = {stage: record for stage in STAGES if (record := ledger.read(root, stage))}
    recorded: dict[str, Any] = {}
    for record in records.values():
        for name, value in record["identity"].items():
            section, _, option = name.rpartition(".")
            (recorded.setdefault(section, {}) if section else recorded)[option] = value
    train = recorded.get("train", {})
    if "metric_epochs" in train:  # trunk records these, and only finetune the phases
        train.setdefault("phases", ["metric", "head"])
    try:
        merged = type(config)(**_merge(recorded, config.model_dump(exclude_unset=True)))
    except ValidationError as error:
        line = _explain(error, type(config), f"{root.uri}/_ledger")
        raise UserError(f"{line}; another version of this code made these tables") from None
    for stage in STAGES[: STAGES.index(last) + 1]:
        was, now = records.get(stage, {}).get("identity", {}), merged.config_key(stage)
        ledger.require_finished(root, stage, was)
        for name in sorted(was | now):
            if name not in was or name not in now:
                raise UserError(
                    f"{root.uri}: stage {stage} was run by another version of this code, which "
                    f"{'has' if name in was else 'lacks'} the option {name}; run it again"
                )
            if was[name] != now[name]:
                raise UserError(
                    f"--{name} {now[name]}: {root.uri} was made with {was[name]}; leave this "
                    "option out, or run jobs/pipeline.py with it on another --root"
                )
    return merged


def guard(
    action: Callable[[], None], stopped: str = "stopped: run the same command again to continue"
) -> None:
    """Run an action, and report any error that ends it in one line.

    The exit status is 2 for a problem that a person can solve, 130 for Ctrl-C, 141 for a closed
    output such as `| head`, and 1 for an unexpected error. The line names the file with the trace
    of an unexpected error.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # silences TensorFlow's start
    threading.excepthook = error_log.thread_hook
    interrupts.keep()
    try:
        action()
        sys.stdout.flush()
    except UserError as error:
        error_log.print_line(f"error: {redact_url(' '.join(str(error).split()))}")
        sys.exit(2)
    except KeyboardInterrupt:
        error_log.print_line(stopped)
        sys.exit(130)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and error_log.is_output_closed():
            sys.exit(error_log.BROKEN_PIPE_STATUS)
        line = _file_error(error_log.cause_of(error))
        if line:
            error_log.print_line(f"error: {redact_url(line)}")
            sys.exit(2)
        error_log.report_error(error, os.path.basename(sys.argv[0]))
        sys.exit(error_log.UNEXPECTED_STATUS)


def _file_error(error: BaseException) -> str | None:
    """Describe an error of a file that a person can solve; return None for any other error."""
    if not isinstance(error, OSError):
        return None
    file = str(error.filename or "")[:300]
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{file or 'a disk'}: no space left; free some, and run the same command again"
    return f"{file}: {error.strerror}" if error.errno in _USER_ERRNOS and file else None

"""Commands and options that pages show; addresses are shown without passwords."""

import shlex
from collections.abc import Iterable

from landmark_ray.config import Config
from landmark_ray.errors import redact_url


def rows_command(root: str, table: str, where: Iterable[str] = ()) -> str:
    """Return the command that lists the rows of a table that meet conditions."""
    words = [".venv/bin/python", "jobs/rows.py", "--root", root, "--table", table]
    for condition in where:
        words += ["--where", condition]
    return shlex.join(words)


def verdicts_command(root: str, source: str | None) -> str:
    """Return the command that cleans again with the verdicts that a page gave."""
    words = [".venv/bin/python", "jobs/pipeline.py", "--source", redact_url(source or "SOURCE")]
    words += ["--root", root, "--redo", "clean", "--clean.verdicts", "verdicts.csv"]
    return shlex.join(words)


def shown_options(config: Config) -> str:
    """Return the options of a run as JSON."""
    return redact_url(config.model_dump_json(indent=1, exclude={"cluster", "config", "redo"}))

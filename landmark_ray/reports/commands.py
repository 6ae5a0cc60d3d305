"""Commands that pages show."""

import shlex
from collections.abc import Iterable


def rows_command(root: str, table: str, where: Iterable[str] = ()) -> str:
    """Return the command that lists the rows of a table that meet conditions."""
    words = [".venv/bin/python", "jobs/rows.py", "--root", root, "--table", table]
    for condition in where:
        words += ["--where", condition]
    return shlex.join(words)

"""Commands that pages give to people."""

import shlex
from collections.abc import Iterable


def rows_command(root: str, table: str, where: Iterable[str] = ()) -> str:
    """That lists rows of a table."""
    words = [".venv/bin/python", "jobs/rows.py", "--root", root, "--table", table]
    for condition in where:
        words += ["--where", condition]
    return shlex.join(words)

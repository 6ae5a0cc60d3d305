"""What is read from files is plain data: nothing in it is run, and no secret of it is shown."""

import re
from collections.abc import Iterable

import pyarrow as pa

_SECRETS = re.compile(r"""(?<=://)[^/\s'"]+@|(?<=\?)[^\s'"?=]+=[^\s'",;)]*(?<![:.])""")


def check_plain(fields: Iterable[pa.Field]) -> None:
    """Refuse columns of types that Python code belongs to: Ray Data unpickles cells of one of them.

    Raises:
        ValueError: names the column and the type.
    """
    for field in fields:
        kind = field.type
        if isinstance(kind, pa.BaseExtensionType):
            raise ValueError(f"column {field.name} is no plain data but {kind}")
        check_plain(kind.field(i) for i in range(kind.num_fields))


def redacted(text: str) -> str:
    """A text without what lets others in: user and password of its URIs, and what follows a `?`."""
    return _SECRETS.sub(lambda found: "***@" if found[0].endswith("@") else "***", text)

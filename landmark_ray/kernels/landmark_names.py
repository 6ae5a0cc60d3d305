"""Names of landmarks: what a dataset calls them, and what a person does."""

from urllib.parse import unquote

WEB = ("http://", "https://")

LONGEST = 400
"""Letters of an address that is shown."""


def readable(name: str) -> str:
    """What a person calls a landmark: of a category link the last part, in words."""
    if not name.startswith(WEB):
        return name
    last = name.partition("/Category:")[2] or name.rstrip("/").rpartition("/")[2]
    return unquote(last).replace("_", " ")


def link(name: str) -> str | None:
    """The address that a name is, if it is one."""
    return name if name.startswith(WEB) and len(name) < LONGEST else None

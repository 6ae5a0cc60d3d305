"""Names of landmarks: readable names and links from the names in a dataset."""

from urllib.parse import unquote

WEB = ("http://", "https://")

MAX_LINK = 400
"""Largest number of characters of an address that is shown as a link."""


def readable(name: str) -> str:
    """Return a readable name: the last part of a category link, in words, or the name itself."""
    if not name.startswith(WEB):
        return name
    last = name.partition("/Category:")[2] or name.rstrip("/").rpartition("/")[2]
    return unquote(last).replace("_", " ")


def link(name: str) -> str | None:
    """Return the name if it is a web address, else None."""
    return name if name.startswith(WEB) and len(name) < MAX_LINK else None

"""Reading many files at a time, because a remote store answers slowly."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

READERS = 16
"""Number of files that are read at a time."""

T = TypeVar("T")
U = TypeVar("U")


def map_concurrently(work: Callable[[T], U], items: Iterable[T], readers: int = READERS) -> list[U]:
    """Apply a function that waits for a store to each item, in threads; return the results."""
    with ThreadPoolExecutor(readers) as pool:
        return list(pool.map(work, items))

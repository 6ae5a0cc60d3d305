"""Delay Ctrl-C where Python would lose it."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Delay Ctrl-C until the end of the context.

    Ray forks when it starts, and Python drops a KeyboardInterrupt that is raised right after a fork
    ("Exception ignored in"), so that the job would continue.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed in the context; this is raised at its end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return
    received: list[int] = []

    def remember(number: int, _: Any) -> None:
        received.append(number)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received:
        signal.raise_signal(signal.SIGINT)

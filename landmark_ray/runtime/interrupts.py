"""Delay or repeat Ctrl-C where Python would lose it."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

REPEAT_S = 0.1
"""Time after which an interrupt that was lost is repeated, in seconds."""


def keep() -> None:
    """Repeat an interrupt that Python loses from now on.

    Python drops an exception that is raised while an object is deleted, prints "Exception ignored
    in" with a stack trace, and goes on. Ray deletes objects at any time.
    """
    if not isinstance(sys.unraisablehook, _Repeat):
        sys.unraisablehook = _Repeat(sys.unraisablehook)


class _Repeat:
    """A hook for exceptions that Python drops: interrupts are repeated, others are printed."""

    def __init__(self, others: Callable[["sys.UnraisableHookArgs"], object]) -> None:
        self.others = others

    def __call__(self, lost: "sys.UnraisableHookArgs") -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            again = threading.Timer(REPEAT_S, os.kill, (os.getpid(), signal.SIGINT))
            again.daemon = True
            again.start()
        else:
            self.others(lost)


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

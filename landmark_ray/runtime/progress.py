"""Show the progress of long work: a bar on a terminal, otherwise a line every ten seconds.

Tables about it are printed by `console`.
"""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

LINE_EVERY_S = 10.0


def console(width: int = 140) -> Console:
    """Return what prints tables on stdout, in `width` letters unless that is a terminal."""
    return Console(width=None if Console().is_terminal else width)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


class ProgressBar:
    """Rows that are done, rate and time left of one piece of work, on stderr.

    Args:
        title: What is being done.
        total: Number of rows.
        done: Number of rows that an earlier run finished.
        unit: What a row is, as a plural noun.
    """

    def __init__(self, title: str, total: int, *, done: int = 0, unit: str = "images") -> None:
        """Start the clock, from which the rate is computed."""
        self.title, self.total, self.done, self.unit = title, total, done, unit
        self.begun = self.shown = time.monotonic()
        self.before = done
        screen = Console(stderr=True)
        self.bar: Progress | None = None
        if screen.is_terminal:
            columns = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn())
            self.bar = Progress(*columns, TextColumn("{task.fields[state]}"), console=screen)
            self.task = self.bar.add_task(title, total=total, completed=done, state="starting")

    def __enter__(self) -> "ProgressBar":
        """Show the bar on a terminal."""
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: object, trace: TracebackType | None
    ) -> None:
        """Leave the last state on the screen; print no line after an error."""
        if self.bar:
            self.bar.stop()
        elif kind is None:
            self._line()

    def add(self, rows: int) -> None:
        """Count more rows as done."""
        self.done += rows
        if self.bar:
            self.bar.update(self.task, completed=self.done, state=self._state())
        elif time.monotonic() - self.shown > LINE_EVERY_S:
            self._line()

    def _state(self) -> str:
        seconds = time.monotonic() - self.begun
        rate = (self.done - self.before) / max(seconds, 1e-9)
        left = (self.total - self.done) / rate if rate else 0.0
        speed = f"{rate:,.0f}" if rate >= 10 or not rate else f"{rate:.2g}"
        return f"{speed} {self.unit}/s, {_clock(seconds)} gone, {_clock(max(left, 0))} left"

    def _line(self) -> None:
        self.shown = time.monotonic()
        share = f"{self.done:,} of {self.total:,} {self.unit}"
        print(f"{self.title:>8}: {share}, {self._state()}", file=sys.stderr, flush=True)

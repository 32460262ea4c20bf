"""How far something is, and how long it still takes: a bar in a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

EVERY = 5.0
"""Seconds between plain lines."""


def bar(console: Console, *said: str) -> Progress:
    """A bar with what is said before it, time, and remaining time."""
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=True))
    return Progress(*map(TextColumn, said), BarColumn(), *times, console=console, speed_estimate_period=600)


class Steps:
    """So many of so many steps.

    Args:
        what: is done, such as "people".
        total: steps.
        before: steps that were done before and took no time.
    """

    def __init__(self, what: str, total: int, before: int = 0) -> None:
        self.what, self.total, self.before = what, total, before
        self.console = Console(stderr=True)
        self.began = self.said = time.monotonic()
        self.bar = bar(
            self.console, "{task.description} {task.completed:.0f} of {task.total:.0f}", "{task.fields[note]}"
        )
        self.task = self.bar.add_task(what, total=total, completed=before, note="")
        if self.console.is_terminal:
            self.bar.start()

    def at(self, done: int, note: str = "") -> None:
        """`done` steps are done; the note says what came of them."""
        self.bar.update(self.task, completed=done, note=note)
        now = time.monotonic()
        if self.console.is_terminal or (now - self.said < EVERY and done < self.total):
            return
        self.said, new = now, done - self.before
        left = (
            f", about {(now - self.began) / new * (self.total - done):.0f} s left" if new and done < self.total else ""
        )
        print(f"{self.what} {done} of {self.total}{f', {note}' if note else ''}{left}", file=sys.stderr)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self.bar.stop()


@contextmanager
def steps(what: str, total: int) -> Iterator[Steps]:
    """Steps that end with a block."""
    shown = Steps(what, total)
    try:
        yield shown
    finally:
        shown.stop()

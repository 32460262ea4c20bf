"""What is said while something runs: the log of the command line, and how far it is.

Every file of the package logs to `logging.getLogger("ice_lightning")`. A program shows the log by `shown_log`; from
Python, warnings are shown and the rest is left to the caller's own configuration of `logging`.

How far something is, and how long it still takes, is a bar in a terminal, plain lines now and then elsewhere.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ice_lightning.checks import IceError

EVERY = 5.0
"""Seconds between plain lines."""


LOG = logging.getLogger("ice_lightning")

RANKS = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")
"""What torchrun, Lightning and SLURM tell a process about its place among the others; each counts from 0."""


def is_rank_zero() -> bool:
    """Whether this process speaks for all of a run: Lightning knows, once it is imported, before that the launcher."""
    lightning = sys.modules.get("lightning_utilities.core.rank_zero")
    rank = getattr(lightning.rank_zero_only, "rank", None) if lightning is not None else None
    return rank == 0 if rank is not None else all(os.environ.get(name, "0") == "0" for name in RANKS)


class CommandLine(logging.Handler):
    """Writes the log to stderr, a plain line each, errors after the program's name; of several ranks, one speaks."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, unless another rank does; an error is told by the rank that has it."""
        failed = record.levelno >= logging.ERROR
        if failed or is_rank_zero():
            print(f"{'ice_lightning: ' if failed else ''}{self.format(record)}", file=sys.stderr, flush=True)


@contextmanager
def shown_log() -> Iterator[None]:
    """Within, and as a decorator of a program's `main`, the log is shown on the command line, each line once."""
    if any(isinstance(each, CommandLine) for each in LOG.handlers):
        yield
        return
    handler, before = CommandLine(), (LOG.level, LOG.propagate)
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False  # to the handlers that Hydra makes
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        LOG.setLevel(before[0])
        LOG.propagate = before[1]


def exit_status(command: Callable[[], int]) -> int:
    """Run a command with its log shown; bad input ends in its sentence on stderr and status 2.

    Args:
        command: returns an exit status.

    Returns:
        The command's own status, or 2.

    Example:
        >>> exit_status(lambda: 0)
        0
    """
    with shown_log():
        try:
            return command()
        except IceError as error:
            LOG.error(error)
            return 2


def bar(console: Console, *columns: str) -> Progress:
    """A bar with columns of text before it, time, and remaining time.

    Args:
        console: where it is drawn.
        columns: in the format of rich's TextColumn.
    """
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=True))
    return Progress(*map(TextColumn, columns), BarColumn(), *times, console=console, speed_estimate_period=600)


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
        self.began = self.last_printed_at = time.monotonic()
        self.bar = bar(
            self.console, "{task.description} {task.completed:.0f} of {task.total:.0f}", "{task.fields[note]}"
        )
        self.task = self.bar.add_task(what, total=total, completed=before, note="")
        if self.console.is_terminal:
            self.bar.start()

    def at(self, done: int, note: str = "") -> None:
        """Show how far it is.

        Args:
            done: steps, those before among them.
            note: of what came of them.
        """
        self.bar.update(self.task, completed=done, note=note)
        now = time.monotonic()
        if self.console.is_terminal or (now - self.last_printed_at < EVERY and done < self.total):
            return
        self.last_printed_at, new = now, done - self.before
        seconds = (now - self.began) / new * (self.total - done) if new else 0.0
        left = f", about {seconds:.0f} s left" if new and done < self.total else ""
        line = f"{self.what} {done} of {self.total}{f', {note}' if note else ''}{left}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self.bar.stop()


@contextmanager
def steps(what: str, total: int) -> Iterator[Steps]:
    """Steps that end with a block.

    Args:
        what: is done, such as "direction".
        total: steps.
    """
    shown = Steps(what, total)
    try:
        yield shown
    finally:
        shown.stop()

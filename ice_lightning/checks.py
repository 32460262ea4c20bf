"""The project's error sentences: what was expected, what came, and the fix."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable
from typing import Any


class IceError(ValueError):
    """Bad input, told in one sentence; the command line prints it and exits with 2."""


def problem(expected: str, got: object, fix: str) -> IceError:
    """The error that says "expected ..., got ...: fix"; the caller raises it."""
    return IceError(f"expected {expected}, got {got}: {fix}")


def exit_status(command: Callable[[], int]) -> int:
    """Run a command; bad input ends in its sentence on stderr and status 2.

    Args:
        command: returns an exit status.

    Returns:
        The command's own status, or 2.

    Example:
        >>> exit_status(lambda: 0)
        0
    """
    try:
        return command()
    except IceError as error:
        print(f"ice_lightning: {error}", file=sys.stderr)
        return 2


def nearest(name: str, options: Iterable[str]) -> str:
    """The option most like `name`, or "" when none is."""
    close = difflib.get_close_matches(str(name), list(options), n=1, cutoff=0.5)
    return close[0] if close else ""


def one_of(what: str, name: str, options: Iterable[str]) -> str:
    """`name` itself; raises IceError with the nearest option when it is none of them."""
    options = list(options)
    if name in options:
        return name
    close = nearest(name, options)
    fix = f"did you mean '{close}'?" if close else "choose one of them"
    raise problem(f"a {what} out of {', '.join(options)}", f"'{name}'", fix)


def ratio(what: str, value: float) -> float:
    """`value` itself; raises IceError outside (0, 1]."""
    if not 0 < value <= 1:
        raise problem(f"{what} in (0, 1]", value, "give a share of the largest eigenvalue, for example 0.01")
    return value


def at_least(what: str, value: int, least: int) -> int:
    """`value` itself; raises IceError below `least`."""
    if value < least:
        raise problem(f"{what} of at least {least}", value, f"raise it to {least} or more")
    return value


def finite(what: str, tensor: Any) -> Any:
    """The tensor itself; raises IceError when it holds NaN or infinity."""
    bad = int((~tensor.isfinite()).sum())
    if bad:
        raise problem(f"finite numbers in {what}", f"{bad} NaN or infinite of {tensor.numel()}", "check the file")
    return tensor

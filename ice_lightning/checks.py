"""The project's error sentences: what was expected, what came, and the fix."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

LARGEST_SEED = 10**12
"""Multiples of it have to be seeds of torch, which end at 2^63."""


class IceError(ValueError):
    """Bad input, in one sentence; the command line prints it and exits with 2."""


class NotFound(IceError):
    """A file, folder or package that isn't there."""


class Unreadable(IceError):
    """A file that is there, and is broken or holds something else."""


class Mismatch(IceError):
    """Things that don't belong together: of other settings, another generator, other people, another version."""


def problem(expected: str, got: object, fix: str, kind: type[IceError] = IceError) -> IceError:
    """The error that says "expected ..., got ...: fix"; the caller raises it.

    Args:
        expected: what would have been right.
        got: what came instead.
        fix: what to do about it.
        kind: `NotFound`, `Unreadable` or `Mismatch` where it is one of these.

    Returns:
        An instance of `kind`.

    Example:
        >>> str(problem("a subspace at run", "none", "pass another folder", NotFound))
        'expected a subspace at run, got none: pass another folder'
    """
    sentence = " ".join(f"expected {expected}, got {got}: {fix}".splitlines())
    return kind("".join(each if each.isprintable() else " " for each in sentence))  # no file steers a terminal


def nearest(name: str, options: Iterable[str]) -> str:
    """The option most like `name`, or "" when none is.

    Args:
        name: as it was typed.
        options: what it might have been.

    Returns:
        One of the options, at least half alike.

    Example:
        >>> nearest("skin_colour", ["skin_color", "hair_color"])
        'skin_color'
    """
    close = difflib.get_close_matches(str(name), list(options), n=1, cutoff=0.5)
    return close[0] if close else ""


def one_of(what: str, name: str, options: Iterable[str]) -> str:
    """A name that has to be one of several.

    Args:
        what: what it names, for the error.
        name: as it was typed.
        options: what it may be.

    Returns:
        `name` itself.

    Raises:
        IceError: with the nearest option, when it is none of them.

    Example:
        >>> one_of("space", "w", ["w", "s"])
        'w'
    """
    options = list(options)
    if name in options:
        return name
    close = nearest(name, options)
    fix = f"did you mean '{close}'?" if close else "choose one of them"
    raise problem(f"a {what} out of {', '.join(options)}", f"'{name}'", fix)


def is_number(value: object) -> bool:
    """Whether it is a finite real number; true is none.

    >>> is_number(0.5), is_number(True), is_number("1"), is_number(float("inf"))
    (True, False, False, False)
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def ratio(what: str, value: float) -> float:
    """A share of a largest eigenvalue.

    Args:
        what: its name, for the error.
        value: in (0, 1].

    Returns:
        `value` itself.

    Raises:
        IceError: outside (0, 1].

    Example:
        >>> ratio("activate_ratio", 0.01)
        0.01
    """
    if not is_number(value):
        raise problem(f"a number as {what}", repr(value), "give a share, for example 0.01")
    if not 0 < value <= 1:
        raise problem(f"{what} in (0, 1]", value, "give a share of the largest eigenvalue, for example 0.01")
    return value


def at_least(what: str, value: int, least: int) -> int:
    """A number that has to be large enough.

    Args:
        what: its name, for the error.
        value: an integer.
        least: the smallest that will do.

    Returns:
        `value` itself.

    Raises:
        IceError: below `least`, or for anything but a whole number.

    Example:
        >>> at_least("people", 3, 1)
        3
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise problem(f"a whole number as {what}", repr(value), f"give one of at least {least}")
    if value < least:
        raise problem(f"{what} of at least {least}", value, f"raise it to {least} or more")
    return value


def finite(what: str, tensor: Any) -> Any:
    """A tensor without NaN or infinity.

    Args:
        what: its name, for the error.
        tensor: of any shape; not only torch's.

    Returns:
        The tensor itself.

    Raises:
        Unreadable: where it holds NaN or infinity.

    Example:
        >>> import torch
        >>> finite("weights", torch.ones(2))
        tensor([1., 1.])
    """
    bad = int((~tensor.isfinite()).sum())
    if bad:
        raise problem(
            f"finite numbers in {what}", f"{bad} NaN or infinite of {tensor.numel()}", "check the file", Unreadable
        )
    return tensor

"""Errors as sentences for the user."""

from __future__ import annotations

import errno

from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from ice_lightning.checks import IceError, one_of, problem


def sentence(error: BaseException) -> str | None:
    """What to tell the user, or None for what looks like our own mistake.

    Example:
        >>> from ice_lightning.checks import problem
        >>> sentence(problem("a picture", "none", "set image=PATH"))
        'expected a picture, got none: set image=PATH'
        >>> sentence(ZeroDivisionError())
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, IceError):
            return str(cause)
        cause = cause.__cause__
    if disk_is_full(error):
        return str(
            problem("room on the disk of the run folder", "none left", "free some, then go on with ckpt_path=last")
        )
    if "terminated with signal" in str(error):  # ProcessExitedException of torch.multiprocessing
        got = f"one that was killed ({' '.join(str(error).split())})"
        fix = "give each less to do if memory ran out, then go on with ckpt_path=last"
        return str(problem("every process to come to its end", got, fix))
    for line in str(error).splitlines():  # of a process that was forked, only the text of its traceback arrives
        name, _, text = line.partition(": ")
        kinds: list[type[IceError]] = [IceError, *IceError.__subclasses__()]
        if name in {f"{kind.__module__}.{kind.__name__}" for kind in kinds}:
            return text
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        try:
            one_of(group, name, error.options)
        except IceError as named:
            return str(named)
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        fix = "task=list names them, and ~classifier, say, leaves one out"
        return str(problem("the name of a choice, such as solver=exact", "a value of another type", fix))
    if isinstance(error, HydraException | OmegaConfBaseException):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename:
        return str(
            problem(
                "a run folder that can be written",
                f"{error.strerror} at {error.filename}",
                "set hydra.run.dir to another one",
            )
        )
    return None


def disk_is_full(error: BaseException) -> bool:
    """Whether an error, or one behind it, is a disk without room; libraries say so in words, torch in its own."""
    words = ("No space left", "unexpected pos")
    seen: BaseException | None = error
    while seen is not None:
        if getattr(seen, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(each in str(seen) for each in words):
            return True
        seen = seen.__cause__ or seen.__context__
    return False

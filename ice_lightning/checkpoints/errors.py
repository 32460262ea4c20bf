"""Errors of files, as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ice_lightning.checks import IceError, NotFound, Unreadable, problem


class Refused(Exception):
    """What is wrong with a file, before it is known what was expected there.

    Args:
        got: what came instead, such as "an empty one".
        fix: what to do.
        kind: the error that says so.
    """

    def __init__(self, got: str, fix: str = "fetch or write the file again", kind: type[IceError] = Unreadable) -> None:
        super().__init__(got)
        self.got, self.fix, self.kind = got, fix, kind


@contextmanager
def user_errors(path: Path, what: str) -> Iterator[None]:
    """Turn whatever goes wrong within the block into one sentence about the file.

    Args:
        path: the file that is read within.
        what: what is expected there, such as "a StyleGAN2 generator".

    Raises:
        IceError: for everything that can be wrong with the file.
    """
    try:
        yield
    except Refused as error:
        raise problem(f"{what} at {path}", error.got, error.fix, error.kind) from None
    except SafetensorError as error:
        raise problem(
            f"{what} at {path}", f"a broken safetensors file ({error})", "fetch it again", Unreadable
        ) from error
    except OSError as error:
        kind = NotFound if isinstance(error, FileNotFoundError) else Unreadable
        got = f"one that can't be read ({error.strerror})"
        raise problem(f"{what} at {path}", got, "check the path", kind) from error
    except IceError:
        raise
    except Exception as error:  # a hostile file can break an assumption that no check names
        got = f"one with parts that don't fit together ({type(error).__name__})"
        raise problem(f"{what} at {path}", got, "fetch or write the file again", Unreadable) from error

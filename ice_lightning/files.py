"""Files that are whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LAST = "last.ckpt"
"""In the folder of an interrupted run, what it goes on from; a finished one has none."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A sibling of `path` to write to; it takes its place when the block ends well, and goes when it doesn't."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        part.chmod(0o644)  # safetensors writes 0600, which a shared install could not read
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def user_cache() -> Path:
    """Our folder in the user's cache: below $XDG_CACHE_HOME or, where that isn't an absolute path, ~/.cache.

    The XDG base directory specification has it so.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".cache") / "ice_lightning"


def cached(name: str) -> Path:
    """A file of the user's cache: public networks in the form in which `faces=landmarks` looks for them.

    Args:
        name: landmarks, recognition, expression or age_gender, each .safetensors.

    Returns:
        Where it is, or would be.
    """
    return user_cache() / "real_faces" / name

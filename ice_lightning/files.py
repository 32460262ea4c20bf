"""Files that are whole or absent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LAST = "last.ckpt"
"""In the folder of an interrupted run, what it goes on from; a finished one has none."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A sibling of `path` to write to; it takes its place when the block ends well, and goes when it doesn't.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, atomic_write(f"{folder}/a.txt") as part:
        ...     _ = part.write_text("whole")
    """
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


def write_bytes(path: str | Path, data: bytes) -> None:
    """A file that holds these bytes, whole or not at all.

    Args:
        path: where to; folders that are missing are made.
        data: all of it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_bytes(f"{folder}/new/a.bin", b"12")
        ...     Path(folder, "new", "a.bin").read_bytes()
        b'12'
    """
    with atomic_write(path) as part:
        part.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """A text file in UTF-8, whole or not at all.

    Args:
        path: where to; folders that are missing are made.
        text: all of it.
    """
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any, indent: int = 2) -> None:
    """A JSON file with a line at its end, whole or not at all.

    Args:
        path: where to; folders that are missing are made.
        value: numbers, texts, lists, mappings. NaN is written as NaN, which Python reads again.
        indent: of each level, in spaces.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(f"{folder}/a.json", {"rank": 3})
        ...     Path(folder, "a.json").read_text().splitlines()
        ['{', '  "rank": 3', '}']
    """
    write_text(path, json.dumps(value, indent=indent) + "\n")


def cached(name: str) -> Path:
    """A file of the user's cache: public networks in the form in which `faces=landmarks` looks for them.

    Args:
        name: landmarks, recognition, expression or age_gender, each .safetensors.

    Returns:
        Where it is, or would be.
    """
    return user_cache() / "real_faces" / name

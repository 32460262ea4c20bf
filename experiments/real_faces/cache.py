"""Where the study keeps the converted networks of other people."""

from __future__ import annotations

import os
from pathlib import Path


def cached(name: str = "") -> Path:
    """A file in $XDG_CACHE_HOME/ice_lightning/real_faces, or in ~/.cache where that isn't set; it may not be there."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "ice_lightning" / "real_faces" / name

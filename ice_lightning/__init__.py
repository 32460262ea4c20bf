"""ice_lightning: named latent subspaces of a face generator, and what a classifier really looks at."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "load_generator": "ice_lightning.checkpoints",
    "load_subspace": "ice_lightning.subspace",
    **dict.fromkeys(("at", "discover", "explain", "judge", "traverse", "invert"), "ice_lightning.api"),
}
__all__ = ["at", "discover", "explain", "invert", "judge", "load_generator", "load_subspace", "traverse"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import ice_lightning` pulls in no torch."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ice_lightning' has no attribute '{name}'")

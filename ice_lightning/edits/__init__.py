"""Moves of people along directions: straight ones, and ones that hold still what a criterion suppresses."""

from ice_lightning.edits.at import CLEAN, Moved, Reach, SubspaceAt, subspace_at
from ice_lightning.edits.held import HeldMove, Path, hold
from ice_lightning.edits.straight import straight

__all__ = ["CLEAN", "HeldMove", "Moved", "Path", "Reach", "SubspaceAt", "hold", "straight", "subspace_at"]

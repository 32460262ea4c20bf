"""Solvers of a criterion over people: `solver=` names one of these."""

from ice_lightning.solvers.exact import FullJacobian
from ice_lightning.solvers.krylov import BlockKrylov

__all__ = ["BlockKrylov", "FullJacobian"]

"""Solvers of a criterion over people: whole Jacobians, and block Krylov methods that take few products."""

from __future__ import annotations

from dataclasses import dataclass

from ice_lightning.checks import at_least, ratio
from ice_lightning.parallel import check_products
from ice_lightning.solvers import hard, soft
from ice_lightning.solvers.exact import everything, finish_from_full
from ice_lightning.solvers.problem import Problem
from ice_lightning.solvers.result import Found, Search


@dataclass(frozen=True)
class BlockKrylov:
    """The subspace from few products: `soft.search` under soft projection, `hard.search` under the others.

    Where they would take more products than whole Jacobians, those are taken instead, and the result says so.

    Attributes:
        rows: at most so many random rows per person in an estimate; fewer where people are many.
        tolerance: largest residual of a kept direction, relative to its eigenvalue.
        passes: at most so many over the people.
        chunk: products at a time; None for what suits the device (products.at_once).
        memory: what products at a time may take, such as 4GB.
    """

    rows: int = 64
    tolerance: float = 0.08
    passes: int = 40
    chunk: int | None = None
    memory: str = "4GB"

    def __post_init__(self) -> None:
        """Refuse settings that can't end."""
        check_products(self.chunk, self.memory)
        at_least("solver.rows", self.rows, 1)
        at_least("solver.passes", self.passes, 4)
        ratio("solver.tolerance", self.tolerance)

    def search(self, problem: Problem) -> Search:
        """Ask until every kept direction has a small residual."""
        kind = soft if problem.projection == "soft" else hard
        end = yield from kind.search(problem, self.rows, self.tolerance, self.passes)
        if isinstance(end, Found):
            return end
        groups = yield everything(problem)._replace(residual=end.residual)
        ratios = {"activate_ratio": problem.activate_ratio, **problem.ratios}
        too_many = ", ".join(f"{name} {share:g}" for name, share in ratios.items())
        why = f"whole Jacobians take fewer products, so many directions are above the ratios ({too_many})"
        return finish_from_full(
            problem, groups, passes=end.passes + 1, products=end.spent + groups[0].spent, stopped_early=why
        )

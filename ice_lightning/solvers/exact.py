"""solver=exact: whole Jacobians, and everything decided from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ice_lightning import checks
from ice_lightning.parallel import check_products
from ice_lightning.solvers import hard, soft
from ice_lightning.solvers.problem import WHOLE, FactorQuery, Problem, Query, Reply, together
from ice_lightning.solvers.result import Found, Search, found


def everything(problem: Problem) -> Query:
    """The whole Jacobians of all terms."""
    return Query(tuple(FactorQuery(problem.only({i: 1.0})) for i in range(len(problem.sizes))))


def finish_from_full(problem: Problem, groups: list[Reply], **stats: Any) -> Found:
    """The end of a search that was told everything."""
    end = found(problem, together(groups).rows, None, **stats)
    return (soft if problem.projection == "soft" else hard).steady_whole(problem, end, groups)


@dataclass(frozen=True)
class FullJacobian:
    """Whole Jacobians in one pass: as many products per person as the latent has coordinates.

    Attributes:
        chunk: products at a time; None for what suits the device (products.at_once).
        memory: what products at a time may take, such as 4GB.
    """

    chunk: int | None = None
    memory: str = "4GB"

    def __post_init__(self) -> None:
        """Refuse to make no product."""
        check_products(self.chunk, self.memory)

    def search(self, problem: Problem) -> Search:
        """Ask once; raises IceError for more coordinates than dense matrices can have."""
        if problem.n > WHOLE:
            raise checks.problem(
                f"at most {WHOLE} coordinates that may move for solver=exact",
                problem.n,
                "take solver=krylov, fewer layers or a smaller space",
            )
        groups = yield everything(problem)
        return finish_from_full(problem, groups, passes=1, products=groups[0].spent)

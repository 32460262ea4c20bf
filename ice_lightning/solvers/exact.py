"""solver=exact: whole Jacobians, and everything decided from them."""

from __future__ import annotations

from dataclasses import dataclass

from ice_lightning import checks
from ice_lightning.parallel import check_products
from ice_lightning.solvers import hard, pencil
from ice_lightning.solvers.problem import WHOLE, Cost, FactorQuery, Problem, Query, Reply, together
from ice_lightning.solvers.result import SETTLED, Solution, Stopped, solution


@dataclass(frozen=True)
class WholeJacobians:
    """The state in which the whole Jacobians of all terms are asked for.

    Attributes:
        query: for these.
        cost: of what came before.
        stopped: why a search in fewer products came to this.
    """

    query: Query
    cost: Cost
    stopped: Stopped


def whole_jacobians(problem: Problem, residual: float | None = None) -> Query:
    """For the whole Jacobians of all terms; `residual` is that of Query."""
    rows = tuple(FactorQuery(problem.only({i: 1.0})) for i in range(len(problem.sizes)))
    return Query(rows, residual=residual)


def finish_from_whole(problem: Problem, state: WholeJacobians, replies: list[Reply]) -> Solution:
    """The end of a search whose whole Jacobians were answered."""
    end = solution(problem, together(replies).rows, None, state.cost.after(replies), stopped=state.stopped)
    if problem.projection == "soft":
        return pencil.whole_stability(problem, end, replies)
    return hard.whole_stability(problem, end, replies)


@dataclass(frozen=True)
class FullJacobian:
    """Whole Jacobians in one pass: as many products per person as the latent has coordinates.

    Attributes:
        chunk: products at a time; None for what suits the device (parallel.choose_parallelism).
        memory: what products at a time may take, such as 4GB.
    """

    chunk: int | None = None
    memory: str = "4GB"

    def __post_init__(self) -> None:
        """Refuse to make no product."""
        check_products(self.chunk, self.memory)

    def init(self, problem: Problem) -> WholeJacobians:
        """The first state; raises IceError for more coordinates than dense matrices can have."""
        if problem.n > WHOLE:
            raise checks.problem(
                f"at most {WHOLE} coordinates that may move for solver=exact",
                problem.n,
                "take solver=krylov, fewer layers or a smaller space",
            )
        return WholeJacobians(whole_jacobians(problem), Cost(), SETTLED)

    def step(self, problem: Problem, state: WholeJacobians, replies: list[Reply]) -> Solution:
        """The end, after the answers to the only query."""
        return finish_from_whole(problem, state, replies)

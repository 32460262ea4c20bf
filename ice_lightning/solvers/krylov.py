"""Block Krylov methods: a criterion's subspace from few products, and whole Jacobians where these are fewer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch.serialization import add_safe_globals

from ice_lightning.checks import at_least, ratio
from ice_lightning.parallel import check_products
from ice_lightning.solvers import groups, hard, inner_product, largest, pencil, probes, soft, states
from ice_lightning.solvers import problem as problems
from ice_lightning.solvers.exact import WholeJacobians, finish_from_whole, whole_jacobians
from ice_lightning.solvers.problem import Limits, Problem, Reply
from ice_lightning.solvers.result import Solution, Stop, Stopped, TooManyProducts

State = soft.State | hard.State | WholeJacobians


@dataclass(frozen=True)
class BlockKrylov:
    """The subspace from few products: the states of `soft` under soft projection, those of `hard` under the others.

    Where they would take more products than whole Jacobians, those are taken instead, and the result says so.

    Attributes:
        rows: at most so many random rows per person in an estimate; fewer where people are many.
        tolerance: largest residual of a kept direction, relative to its eigenvalue.
        passes: at most so many over the people.
        chunk: products at a time; None for what suits the device (parallel.choose_parallelism).
        memory: what products at a time may take, such as 4GB; on a CPU, what people's graphs between passes may.
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

    @property
    def limits(self) -> Limits:
        """What the steps look at."""
        return Limits(self.rows, self.tolerance, self.passes)

    def init(self, problem: Problem) -> State:
        """The first state of a search."""
        return (soft if problem.projection == "soft" else hard).init(problem, self.limits)

    def step(self, problem: Problem, state: Any, replies: list[Reply]) -> State | Solution:
        """The state after the answers to `state.query`, or the solution.

        Args:
            problem: what is searched.
            state: of the search: what `init` or the step before gave.
            replies: of disjoint groups of people, the same in every step.
        """
        if isinstance(state, WholeJacobians):
            return finish_from_whole(problem, state, replies)
        after = (soft if problem.projection == "soft" else hard).step(problem, self.limits, state, replies)
        if not isinstance(after, TooManyProducts):
            return after
        ratios = {"activate_ratio": problem.activate_ratio, **problem.ratios}
        terms = ", ".join(f"{name} {share:g}" for name, share in ratios.items())
        query = whole_jacobians(problem, after.residual)
        return WholeJacobians(query, after.cost, Stopped(Stop.WHOLE_JACOBIANS, terms=terms))


# What a state is made of may be in a checkpoint, of which torch.load executes nothing else.
add_safe_globals(
    [
        *(problems.FactorQuery, problems.ProductQuery, problems.Query, problems.Reply, problems.Cost, problems.Problem),
        *(states.Sketching, states.Chasing, soft.Bounding, soft.Span, soft.Closing, hard.Span, hard.Closing),
        *(pencil.Pencil, pencil.Pairs),
        *(largest.Tip, largest.LargestEigenvalue, groups.Group, groups.EnergyEstimate, probes.Watch),
        *(inner_product.InnerProduct, WholeJacobians, Stopped, Stop),
    ]
)

"""The search under early, late and mixed projection: eigenpairs of P A P above the ratio, from few products.

P comes from the suppressed terms' eigenvectors above their ratios (from none under late, from some under mixed). A
sketch of random rows (Halko et al. 2011) gives the first directions; then the residuals of the pairs of P A P, and of
those bad pairs that matter to them, are the next ones, and everything is solved anew in the span of all of them: block
Krylov spaces (Musco & Musco 2015) that terms share.

Where A is mostly suppressed, a small error of P changes much of what is left. So a bad pair is chased by what its
residual can do to a wanted one, and the search ends only where the residuals are small with the P of one block more as
well. A random direction is multiplied along (Lanczos), so that bad directions of which the sketch shows nothing are
found.

So a search is in one of three states: `Sketching`, `Chasing` residuals, `Closing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ice_lightning.jacobians.operators import remove
from ice_lightning.solvers.accuracy import trace_error
from ice_lightning.solvers.cuts import Checked, Ritz, early_terms
from ice_lightning.solvers.dense import root, strong
from ice_lightning.solvers.groups import EnergyEstimate, Group, join
from ice_lightning.solvers.inner_product import InnerProduct
from ice_lightning.solvers.probes import PROBES, Watch, next_block
from ice_lightning.solvers.problem import (
    WHOLE,
    Cost,
    FactorQuery,
    Limits,
    Problem,
    ProductQuery,
    Query,
    Reply,
    together,
)
from ice_lightning.solvers.projection import union
from ice_lightning.solvers.result import (
    SETTLED,
    Solution,
    Stop,
    Stopped,
    TooManyProducts,
    charged_rows,
    charges_of,
    deviations_of,
    project_factors,
    solution,
    with_split_half_stability,
)
from ice_lightning.solvers.states import Chasing, Sketching

STEPS = 3
"""So many blocks of residuals bring the subspace of all people to that of a half, where whole Jacobians are known."""

SKETCH = 2048
"""So many random rows of all people together are enough to begin with."""


@dataclass(frozen=True)
class Span:
    """What is known in the span of the directions so far.

    Attributes:
        cost: so far.
        groups: what is known of them.
        D: (n, d), the directions so far, orthonormal.
        residual: the largest of a wanted pair; None before there are any.
        watch: what probes have brought.
        blocks: how many blocks of directions there were.
    """

    cost: Cost
    groups: list[Group]
    D: Tensor
    residual: float | None
    watch: Watch
    blocks: int


@dataclass(frozen=True)
class Closing:
    """The pairs have converged; what they and the directions are in every term is asked for.

    Attributes:
        query: the activated energies times the pairs, and Gram matrices of the directions.
        span: that of all directions so far.
    """

    query: Query
    span: Span


State = Sketching | Chasing[Span] | Closing


def init(problem: Problem, limits: Limits) -> State:
    """The first state: a sketch of every term is asked for.

    Args:
        problem: what is searched.
        limits: how far.
    """
    small, rows = problem.small_terms, num_rows(problem, limits)
    every = range(len(problem.sizes))
    return Sketching(Query(tuple(FactorQuery(alone(problem, i), None if i in small else rows) for i in every)))


def step(problem: Problem, limits: Limits, state: State, replies: list[Reply]) -> State | Solution | TooManyProducts:
    """The state after the answers to `state.query`, or the end.

    Args:
        problem: what is searched.
        limits: how far.
        state: of the search.
        replies: of disjoint groups of people, the same in every step.

    Returns:
        The next state; `Solution` where the search is over, `TooManyProducts` where whole Jacobians would be cheaper.
    """
    match state:
        case Sketching():
            return sketched(problem, limits, replies)
        case Chasing():
            return chased(problem, limits, state, replies)
        case Closing():
            return closed(problem, limits, state, replies)


def num_rows(problem: Problem, limits: Limits) -> int:
    """How many random rows are asked of each person."""
    return min(problem.sketch_rows(limits.rows), max(4, -(-SKETCH // problem.people)))


def alone(problem: Problem, term: int) -> tuple[float, ...]:
    """The energy of one term, by number."""
    return problem.only({term: 1.0})


def sketched_terms(problem: Problem) -> list[int]:
    """Terms with many features."""
    return [i for i in range(len(problem.sizes)) if i not in problem.small_terms]


def factors(group: Group) -> list[Tensor]:
    """(r_i, n) of every term, exact or an estimate."""
    return [energy.factor for energy in group.energies]


def in_span(group: Group, D: Tensor) -> Ritz:
    """All terms within the span of D (n, d)."""
    return Ritz.of(factors(group), D, [energy.GD for energy in group.energies])


def checked_pairs(problem: Problem, group: Group, ritz: Ritz) -> Checked:
    """The pairs that are wanted in a span, and what is wrong with them."""
    return Checked.of(problem, ritz, factors(group), [energy.GD is None for energy in group.energies])


def sketched(problem: Problem, limits: Limits, replies: list[Reply]) -> State | Solution | TooManyProducts:
    """After `Sketching`: exact already where all terms have few features."""
    cost, many = Cost().after(replies), sketched_terms(problem)
    if not many and problem.n <= WHOLE:
        return solution(problem, together(replies).rows, None, cost)
    groups = [
        Group(
            reply.people,
            tuple(
                EnergyEstimate.sketched(R) if i in many else EnergyEstimate.known(R) for i, R in enumerate(reply.rows)
            ),
        )
        for reply in replies
    ]
    R = factors(join(groups))
    D = R[0][:0].T
    span = Span(cost, groups, D, None, Watch(), 0)
    return chase(problem, limits, span, seeds(problem, R), span.watch.probes(D, 0))


def chase(
    problem: Problem, limits: Limits, span: Span, W: Tensor, probes: Tensor
) -> State | Solution | TooManyProducts:
    """Ask for residuals W (n, b) and probes (n, p), or close where there are none or no pass is left."""
    many = sketched_terms(problem)
    V, num_probes = next_block(InnerProduct(span.D[:, :0].T), span.D, W, probes)
    if not V.shape[1] or limits.passes - 1 in (span.cost.passes, span.blocks):
        return close(problem, span)  # what lies in the span is rounding; a pass is left for the end
    if span.cost.exceeds_whole(problem, V, len(many)):
        return TooManyProducts(span.cost, span.residual)
    query = Query(products=(ProductQuery(V, tuple(alone(problem, i) for i in many)),), residual=span.residual)
    state = Chasing(query, span, W.shape[1], num_probes)
    return state if many else widened(problem, limits, state, span.cost, span.groups)


def chased(
    problem: Problem, limits: Limits, state: Chasing[Span], replies: list[Reply]
) -> State | Solution | TooManyProducts:
    """After `Chasing`: what is known of the wider span."""
    groups = [group.extended(reply.products) for group, reply in zip(state.span.groups, replies, strict=True)]
    return widened(problem, limits, state, state.span.cost.after(replies), groups)


def widened(
    problem: Problem, limits: Limits, state: Chasing[Span], cost: Cost, groups: list[Group]
) -> State | Solution | TooManyProducts:
    """Solve in the wider span, and chase what isn't small yet."""
    D, everyone = torch.cat([state.span.D, state.query.products[0].V], 1), join(groups)
    ritz = in_span(everyone, D)
    checked = checked_pairs(problem, everyone, ritz)
    W = checked.chased(limits.tolerance)
    if not checked.X.shape[1]:
        W = torch.cat([free(problem, factors(everyone), checked.cut.first), W], 1)
    watch, blocks = state.span.watch.after(checked.values, state.num_residuals), state.span.blocks + 1
    span = Span(cost, groups, D, checked.residual, watch, blocks)
    if not W.shape[1] and blocks >= PROBES and watch.quiet:
        return close(problem, span)
    multiplied = charged(problem, ritz, checked, D[:, D.shape[1] - state.num_probes :])
    return chase(problem, limits, span, W, watch.probes(multiplied, blocks))


def close(problem: Problem, span: Span) -> Closing:
    """Ask what the pairs are in the activated terms, and the directions in every term."""
    everyone = join(span.groups)
    ritz = in_span(everyone, span.D)
    V = solution(problem, ritz.factors, ritz.Q, span.cost).result.vectors
    checked = checked_pairs(problem, everyone, ritz)
    asked = tuple(alone(problem, i) for i in sketched_terms(problem) if i in problem.activated)
    products = (ProductQuery(checked.X, asked), ProductQuery(V, grams=True))
    return Closing(Query(products=products, residual=checked.residual), span)


def closed(problem: Problem, limits: Limits, state: Closing, replies: list[Reply]) -> Solution:
    """After `Closing`: the true residual, and what halves of the people would give."""
    last, cost, span, everyone = together(replies), state.span.cost.after(replies), state.span, join(state.span.groups)
    ritz = in_span(everyone, span.D)
    end = solution(problem, ritz.factors, ritz.Q, cost)
    checked, V, R = checked_pairs(problem, everyone, ritz), end.result.vectors, factors(everyone)
    products, small = iter(last.products), problem.small_terms
    parts = [R[i].T @ (R[i] @ checked.X) if i in small else next(products) for i in problem.activated]
    AX = torch.stack([G * w for G, w in zip(parts, problem.weights, strict=True)]).sum(0)
    checked = checked._replace(AX=AX)
    beyond = [remove(R[i].T, ritz.Q).T for i in problem.activated]
    random = [0 if i in small else num_rows(problem, limits) * problem.people for i in problem.activated]
    end = replace(
        end,
        residual=checked.residual,
        stopped=why_stopped(checked, limits.tolerance, cost),
        factors=[root(H) for H in last.grams],
        coefficients=torch.eye(V.shape[1]).to(V),
        rest=end.rest + sum(float(each.square().sum()) * w for each, w in zip(beyond, problem.weights, strict=True)),
        rest_error=trace_error(beyond, problem.weights, random),
        pairs=V if problem.projection == "early" else checked.X,
        removed=checked.cut.every,
        charges=(charges := charges_of(problem, ritz.factors)),
        charged=charged_rows(charges, R),
        deviations=deviations_of(problem, R),
    )
    rank = V.shape[1]
    return with_split_half_stability(end, span.groups, lambda half: subspace_of(problem, join(half), span.D, rank))


def why_stopped(checked: Checked, tolerance: float, cost: Cost) -> Stopped:
    """Whether the pairs are good to the tolerance, and what stands in the way where they aren't."""
    if checked.residual > tolerance:
        return Stopped(Stop.PASSES, cost.passes, checked.residual)
    if (checked.relative_residuals(checked.cut) > checked.bars(tolerance)).any():
        return Stopped(Stop.FIRST_UNSETTLED, cost.passes)
    if checked.doubtful().any():
        return Stopped(Stop.LATE_IN_DOUBT)
    if names := checked.jumps(tolerance):
        return Stopped(Stop.NEAR_RATIO, terms=", ".join(f"{name} {checked.problem.ratios[name]:g}" for name in names))
    return SETTLED


def seeds(problem: Problem, R: list[Tensor]) -> Tensor:
    """(n, b), the directions that a search begins with, from factors of all terms (r_i, n) or from estimates."""
    suppressed, ratios = R[len(problem.weights) :], list(problem.ratios.values())
    bad = [strong(each, share / 2) for each, share in zip(suppressed, ratios, strict=True)]
    first = [strong(F, share) for F, share, yes in zip(suppressed, ratios, early_terms(problem), strict=True) if yes]
    return torch.cat([free(problem, R, union(first, R[0].shape[1]).to(R[0])), *bad], 1)


def free(problem: Problem, R: list[Tensor], first: Tensor) -> Tensor:
    """(n, b), what is strong in P A P, P = I - Q Q^T for Q (n, q)."""
    A = torch.cat([F * w**0.5 for F, w in zip(R, problem.weights, strict=False)])
    return strong(remove(A.T, first).T, problem.activate_ratio / 2)


def charged(problem: Problem, ritz: Ritz, checked: Checked, q: Tensor) -> Tensor:
    """(n, b), q (n, b) in the span multiplied with an energy that is above 1 where a term's is above its threshold."""
    y = ritz.Q.T @ q
    total = torch.zeros_like(q)
    for G, spectrum in zip(ritz.GQ[len(problem.weights) :], checked.some, strict=True):
        total = total + G @ y / (spectrum.threshold or 1.0)
    if len(checked.values):
        wanted = remove(ritz.activated(problem) @ y, checked.cut.first)
        total = total + wanted / (problem.activate_ratio * checked.values[0])
    return total


def subspace_of(problem: Problem, group: Group, D: Tensor, rank: int) -> Tensor:
    """The subspace of a group of people, near that of all of them, without a further product.

    To the span of the directions so far comes what the group misses there most, its residuals; within these the
    energies of terms without exact factors are what the sketch estimates.

    Args:
        problem: what is searched.
        group: these people.
        D: (n, d), the directions so far.
        rank: directions of the subspace.

    Returns:
        (n, rank).
    """
    wider = checked_pairs(problem, group, in_span(group, D)).wider
    lowest = problem._replace(rank=rank, activate_ratio=1e-9)
    return wider.Q @ project_factors(lowest, wider.factors).vectors


def whole_stability(problem: Problem, end: Solution, replies: list[Reply]) -> Solution:
    """The end of a search that knows whole Jacobians, with what halves of the people would have found.

    Args:
        problem: what was searched.
        end: from the Jacobians of everyone.
        replies: of disjoint groups of people.
    """
    ratios = [problem.activate_ratio] * len(problem.weights) + [*problem.ratios.values()]
    near = [end.result.vectors, *(strong(F, ratio) for F, ratio in zip(end.factors, ratios, strict=True))]
    D = InnerProduct(near[0][:, :0].T).orthonormal(torch.cat(near, 1), near[0][:, :0])
    groups = [Group(reply.people, tuple(EnergyEstimate.known(R) for R in reply.rows)) for reply in replies]
    rank = end.result.vectors.shape[1]

    def subspace(half: Sequence[Group]) -> Tensor:
        some, span = join(half), D
        for _ in range(STEPS):
            span = checked_pairs(problem, some, in_span(some, span)).wider.Q
        return subspace_of(problem, some, span, rank)

    return with_split_half_stability(end, groups, subspace)

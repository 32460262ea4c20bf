"""The search under soft projection: the strongest eigenpairs of a pencil, from few products.

Wanted are pairs of (A, I + S): A is the energy of the activated terms, S what the suppressed ones charge,
sum_i S_i / (r_i lambda_max(S_i)). Random combinations of rows (a sketch; Halko et al. 2011) estimate S closely enough
that its inverse is a good preconditioner; the residuals through it are the next directions, and the pencil is solved
anew in the span of all of them (Golub & Ye 2002), where A and S are exact. S is one operator, so that a direction costs
one product forward and one back however many terms there are. The largest eigenvalues of the terms, to which the ratios
refer, are found before, a residual at a time (Lanczos).

So a search is in one of four states: `Sketching`, `Bounding` the largest eigenvalues, `Chasing` residuals, `Closing`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ice_lightning.solvers.groups import Group, join
from ice_lightning.solvers.inner_product import InnerProduct, strongest
from ice_lightning.solvers.largest import LargestEigenvalue
from ice_lightning.solvers.pencil import (
    Pairs,
    Pencil,
    by_term,
    energies,
    energy_beyond,
    known,
    relative_residuals,
    residuals,
    ritz,
    shares,
    subspace_of,
    wanted_many,
)
from ice_lightning.solvers.probes import Watch, next_block
from ice_lightning.solvers.problem import (
    WANTED,
    Cost,
    FactorQuery,
    Limits,
    Problem,
    ProductQuery,
    Query,
    Reply,
    together,
)
from ice_lightning.solvers.result import (
    SETTLED,
    Solution,
    Stop,
    Stopped,
    TooManyProducts,
    beside_tips,
    solution,
    with_split_half_stability,
)
from ice_lightning.solvers.states import Chasing, Sketching

SPARE = 0.7
"""Directions down to this share of the threshold are carried along, lest one crosses it unseen."""

EXACT = 0.1
"""To this share of the tolerance largest eigenvalues are known, since what a term charges is relative to its own."""

CHASED = 0.9
"""Down to this share of the tolerance, since what largest eigenvalues may be off by is in the residual as well."""

KEPT = 0.9
"""Down to this share of the threshold they have to converge."""


@dataclass(frozen=True)
class Bounding:
    """The largest eigenvalues of the suppressed terms are asked for.

    Attributes:
        query: their energies times further directions.
        cost: so far.
        sketch: the answers to `Sketching`.
        largest: by term, from the directions so far.
        asked: by term, the further directions (n, b).
    """

    query: Query
    cost: Cost
    sketch: list[Reply]
    largest: Mapping[int, LargestEigenvalue]
    asked: Mapping[int, Tensor]


@dataclass(frozen=True)
class Span:
    """What is known in the span of the directions so far.

    Attributes:
        cost: so far.
        pencil: see there.
        groups: what is known of them.
        D: (n, d), the directions so far, orthonormal in the pencil's norm.
        pairs: in their span.
        settled: whether the first pair's residual is small enough for its angle.
        residual: the largest of a wanted pair.
        watch: what probes have brought.
    """

    cost: Cost
    pencil: Pencil
    groups: list[Group]
    D: Tensor
    pairs: Pairs
    settled: bool
    residual: float
    watch: Watch


@dataclass(frozen=True)
class Closing:
    """The pairs have converged; what they are in every term is asked for.

    Attributes:
        query: Gram matrices of E, which take products forward alone.
        span: that of all directions.
        pairs: those that are kept.
        E: (n, k) orthonormal, in which these are.
    """

    query: Query
    span: Span
    pairs: Pairs
    E: Tensor


State = Sketching | Bounding | Chasing[Span] | Closing


def init(problem: Problem, limits: Limits) -> State:
    """The first state: a sketch of every energy is asked for.

    Args:
        problem: what is searched.
        limits: how far.
    """
    small, rows = problem.small_terms, problem.sketch_rows(limits.rows)
    many = [i for i in problem.suppressed if i not in small]
    factors = [
        *(FactorQuery(problem.only({i: 1.0})) for i in small),
        FactorQuery(problem.only(wanted_many(problem)), rows),
        *(FactorQuery(problem.only({i: 1.0}), each) for i, each in zip(many, dealt(problem, rows), strict=True)),
    ]
    return Sketching(Query(tuple(factors)))


def dealt(problem: Problem, rows: int) -> list[int]:
    """Random rows of each suppressed term with many features: more for a small ratio, which charges more directions.

    Of eleven terms of `skin_color` and `mouth_shape`, 12, 50 to 75, 95 and 110 directions are charged more than 1 where
    the ratio is 1e-2, 1e-3, 1e-4 and 1e-5, but for two terms of 5 and 54 at 2e-3 and 3e-4: about its logarithm squared.

    Args:
        problem: whose terms.
        rows: of all of them together, about; each has 4 at least.
    """
    ratios = [ratio for i, ratio in problem.suppressed.items() if i not in problem.small_terms]
    shares = [max(1.0, math.log10(ratio) ** 2) for ratio in ratios]
    return [max(4, round(rows * share / sum(shares))) for share in shares]


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
        case Bounding():
            return bounded(problem, limits, state, replies)
        case Chasing():
            return chased(problem, limits, state, replies)
        case Closing():
            return closed(problem, limits, state, replies)


def sketched(problem: Problem, limits: Limits, replies: list[Reply]) -> State | Solution | TooManyProducts:
    """After `Sketching`: exact already where all terms have few features."""
    total, cost, small = together(replies), Cost().after(replies), problem.small_terms
    many = [i for i in problem.suppressed if i not in small]
    if not wanted_many(problem) and not many:
        return solution(problem, total.rows[: len(small)], None, cost)
    largest = {i: LargestEigenvalue.of(R) for i, R in by_term(problem, total).items() if i in problem.suppressed}
    asked = {i: largest[i].Q for i in many if largest[i].value() > 0}
    largest |= {i: LargestEigenvalue.unknown(Q) for i, Q in asked.items()}
    if asked:
        return Bounding(products_of_each(problem, asked), cost, replies, largest, asked)
    return begin_chase(problem, limits, cost, replies, largest, [])


def products_of_each(problem: Problem, asked: Mapping[int, Tensor]) -> Query:
    """Every term's energy times directions of its own."""
    return Query(products=tuple(ProductQuery(Q, (problem.only({i: 1.0}),)) for i, Q in asked.items()))


def bounded(
    problem: Problem, limits: Limits, state: Bounding, replies: list[Reply]
) -> State | Solution | TooManyProducts:
    """After `Bounding`: once more, for the terms whose largest eigenvalue isn't known well enough."""
    products = dict(zip(state.asked, together(replies).products, strict=True))
    largest = {
        i: each.extended(state.asked[i], products[i]) if i in products else each for i, each in state.largest.items()
    }
    many = [i for i in largest if i not in problem.small_terms and largest[i].value() > 0]
    cost = state.cost.after(replies)
    if cost.passes < limits.passes // 2:
        tips = {i: largest[i].tip() for i in many}
        asked = {i: tip.q for i, tip in tips.items() if tip.error > EXACT * limits.tolerance}
        if asked:
            return Bounding(products_of_each(problem, asked), cost, state.sketch, largest, asked)
    return begin_chase(problem, limits, cost, state.sketch, largest, many)


def begin_chase(
    problem: Problem,
    limits: Limits,
    cost: Cost,
    sketch: list[Reply],
    largest: Mapping[int, LargestEigenvalue],
    many: list[int],
) -> State | TooManyProducts:
    """The first pairs are those of the sketch; `many` are the suppressed terms with many features and some energy."""
    tips = {i: each.tip() for i, each in largest.items() if each.value() > 0}
    ratios = problem.suppressed
    charges = {i: 1 / (ratios[i] * tip.value) for i, tip in tips.items()}
    groups = [known(problem, charges, reply.people, by_term(problem, reply)) for reply in sketch]
    A, S = join(groups).energies
    unsure = max((tips[i].error for i in many), default=0.0)
    pencil = Pencil(together(sketch), tips, charges, unsure, InnerProduct(S.estimate()))
    share, most = SPARE * problem.activate_ratio, None if problem.rank is None else problem.rank + 1
    values, X = strongest(A.estimate(), pencil.norm, share, most)
    span = Span(cost, pencil, groups, X[:, :0], Pairs(values, X, X[:0]), True, 0.0, Watch())
    return chase(problem, limits, span, X, span.watch.probes(X[:, :0], 0))


def chase(problem: Problem, limits: Limits, span: Span, W: Tensor, probes: Tensor) -> State | TooManyProducts:
    """Ask for residuals W (n, b) and probes (n, p), or close where there are none or no pass is left."""
    if span.cost.passes >= limits.passes - 1:
        return close(problem, span)
    V, num_probes = next_block(span.pencil.norm, span.D, W, probes)
    if not V.shape[1]:
        return close(problem, span)
    asked, residual = energies(problem, span.pencil), span.residual if span.D.shape[1] else None
    if span.cost.exceeds_whole(problem, V, len(asked)):
        return TooManyProducts(span.cost, residual)
    return Chasing(Query(products=(ProductQuery(V, asked),), residual=residual), span, W.shape[1], num_probes)


def chased(problem: Problem, limits: Limits, state: Chasing[Span], replies: list[Reply]) -> State | TooManyProducts:
    """After `Chasing`: solve in the wider span, and chase what isn't small yet."""
    span, B = state.span, state.span.pencil.norm
    cost, D = span.cost.after(replies), torch.cat([span.D, state.query.products[0].V], 1)
    groups = [group.extended(reply.products) for group, reply in zip(span.groups, replies, strict=True)]
    everyone = join(groups)
    share, most = SPARE * problem.activate_ratio, None if problem.rank is None else problem.rank + 1
    values, Y = ritz(everyone, D, share, most)
    X, W = D @ Y, B.inverse(residuals(everyone, D, Y, values))
    size = relative_residuals(everyone, D, Y, values, B)
    size[values < KEPT * problem.activate_ratio * values[:1]] = 0
    size[len(size) if problem.rank is None else problem.rank :] = 0
    bars = limits.tolerance * shares(X, values, B)
    W, residual = W[:, size > CHASED * bars], max(size.tolist(), default=0.0) + span.pencil.unsure
    watch = span.watch.after(values[values >= problem.activate_ratio * values[:1]], state.num_residuals)
    settled = bool((size <= bars)[:1].all())
    span = Span(cost, span.pencil, groups, D, Pairs(values, X, Y), settled, residual, watch)
    if not W.shape[1] and watch.quiet:
        return close(problem, span)
    multiplied = everyone.energies[0].times(D)[:, D.shape[1] - state.num_probes :]
    return chase(problem, limits, span, W, watch.probes(B.inverse(multiplied), cost.passes))


def close(problem: Problem, span: Span) -> Closing:
    """Ask what every term does to the pairs that are kept."""
    values, X, Y = span.pairs.values, span.pairs.X, span.pairs.Y
    k = int((values[: problem.rank] >= problem.activate_ratio * values[:1]).sum())
    E = torch.linalg.qr(X[:, :k]).Q
    query = Query(products=(ProductQuery(E, grams=True),), residual=span.residual)
    return Closing(query, span, Pairs(values[:k], X[:, :k], Y[:, :k]), E)


def closed(problem: Problem, limits: Limits, state: Closing, replies: list[Reply]) -> Solution:
    """After `Closing`: the pairs with what they are in every term, and what halves of the people would give."""
    span, pairs, E, cost = state.span, state.pairs, state.E, state.span.cost.after(replies)
    pencil, B, D = span.pencil, span.pencil.norm, span.D
    factors = beside_tips(together(replies).grams, {i: tip.value for i, tip in pencil.tips.items()})
    Q = torch.cat([E, E.new_zeros(len(E), len(pencil.tips))], 1)
    end = solution(problem, factors, Q, cost)
    everyone = join(span.groups)
    size = relative_residuals(everyone, D, pairs.Y, pairs.values, B)
    residual = max(size.tolist(), default=0.0) + pencil.unsure
    stopped = SETTLED
    if residual > limits.tolerance:
        stopped = Stopped(Stop.PASSES, cost.passes, residual)
    elif not span.settled:
        stopped = Stopped(Stop.FIRST_UNSETTLED, cost.passes)
    A, rows = everyone.energies[0], problem.sketch_rows(limits.rows) * problem.people
    rest, error = energy_beyond(A, D, A.times(D), end.result.vectors, rows)
    end = replace(end, residual=residual, stopped=stopped, rest=rest, rest_error=error, norm=B)
    sketch, split = by_term(problem, pencil.sketch), len(problem.weights)
    wanted = torch.cat([sketch[WANTED], *(R * problem.weights[i] ** 0.5 for i, R in sketch.items() if 0 <= i < split)])
    deviations = {WANTED: float(wanted.norm())} | {i: float(sketch[i].norm()) for i in problem.suppressed}
    end = replace(end, charges=pencil.charges, charged=B.M, deviations=deviations)
    rank = end.result.vectors.shape[1]
    return with_split_half_stability(end, span.groups, lambda half: subspace_of(join(half), D, B, rank))

"""The search under early, late and mixed projection: eigenpairs of P A P above the ratio, from few products.

P comes from the suppressed terms' eigenvectors above their ratios (from none under late, from some under mixed). A
sketch of random rows (Halko et al. 2011) gives the first directions; then the residuals of the pairs of P A P, and of
those bad pairs that matter to them, are the next ones, and everything is solved anew in the span of all of them: block
Krylov spaces (Musco & Musco 2015) that terms share.

Where A is mostly suppressed, a small error of P changes much of what is left. So a bad pair is chased by what its
residual can do to a wanted one, and the search ends only where the residuals are small with the P of one block more as
well. A random direction is multiplied along (Lanczos), so that bad directions of which the sketch shows nothing are
found.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.jacobians.operators import remove
from ice_lightning.solvers.cuts import Checked, Ritz, early_terms
from ice_lightning.solvers.dense import root, strong
from ice_lightning.solvers.inner_product import InnerProduct
from ice_lightning.solvers.probes import PROBES, Watch
from ice_lightning.solvers.problem import WHOLE, FactorQuery, Problem, ProductQuery, Query, Reply, together, trace_error
from ice_lightning.solvers.projection import union
from ice_lightning.solvers.result import Found, TooMany, found, solve, with_split_half_stability

STEPS = 3
"""So many blocks of residuals bring the subspace of all people to that of a half, where whole Jacobians are known."""

SKETCH = 2048
"""So many random rows of all people together are enough to begin with."""


def search(
    problem: Problem, rows: int, tolerance: float, passes: int
) -> Generator[Query, list[Reply], Found | TooMany]:
    """Ask until the pairs that are returned have small residuals; the arguments are BlockKrylov's."""
    few, every = problem.few(), range(len(problem.sizes))
    each = min(problem.rows_each(rows), max(4, -(-SKETCH // problem.people)))
    alone = [problem.only({i: 1.0}) for i in every]
    groups = yield Query(tuple(FactorQuery(alone[i], None if i in few else each) for i in every))
    R, spent, number = together(groups).rows, groups[0].spent, 1
    many, exact = [i for i in every if i not in few], [i in few for i in every]
    if not many and problem.n <= WHOLE:
        return found(problem, R, None, passes=1, products=spent)
    euclid, D = InnerProduct(R[0][:0]), R[0][:0].T
    sums = [GroupState(group.people, group.rows, [None if known else D for known in exact]) for group in groups]
    W, probe = seeds(problem, R), Watch().probes(D, 0)
    ritz, now, left = Ritz(D, [each[:, :0] for each in R], [D] * len(R)), None, None
    watch = Watch()
    for step in range(1, passes):
        chased = W.shape[1]
        W = euclid.orthonormal(W, D)
        probe = euclid.orthonormal(probe, torch.cat([D, W], 1))
        W = torch.cat([W, probe], 1)
        if not W.shape[1] or number == passes - 1:  # what lies in the span is rounding; a pass is left for the end
            break
        if problem.n <= WHOLE and spent + W.shape[1] * (1 + len(many)) > problem.n:
            return TooMany(number, spent, left)
        D = torch.cat([D, W], 1)
        if many:
            groups = yield Query(products=tuple(ProductQuery(alone[i], W) for i in many), residual=left)
            spent, number = spent + groups[0].spent, number + 1
            sums = [told.extended(many, group.products) for told, group in zip(sums, groups, strict=True)]
        ritz = Ritz.of(R, D, GroupState.together(sums).GD)
        now = Checked.of(problem, ritz, R, exact)
        W, left = now.chased(tolerance), now.residual
        if not now.X.shape[1]:
            W = torch.cat([free(problem, R, now.cut.first), W], 1)
        watch = watch.after(now.values, chased)
        if not W.shape[1] and step >= PROBES and watch.quiet:
            break
        probe = watch.probes(charged(problem, ritz, now, D[:, D.shape[1] - probe.shape[1] :]), step)
    end = found(problem, ritz.factors, ritz.Q)
    assert now is not None  # or nothing is activated, which `found` refuses
    asked = [i for i in many if i < len(problem.weights)]
    V = end.result.vectors
    groups = yield Query(products=tuple(ProductQuery(alone[i], now.X) for i in asked), grams=V, residual=now.residual)
    last, number, spent = together(groups), number + 1, spent + groups[0].spent
    again = dict(zip(asked, last.products, strict=True))
    parts = [again[i] if i in again else R[i].T @ (R[i] @ now.X) for i in range(len(problem.weights))]
    now = now._replace(AX=torch.stack([G * w for G, w in zip(parts, problem.weights, strict=True)]).sum(0))
    stats = {"passes": number, "products": spent, "residual": now.residual, "stopped_early": ""}
    if now.residual > tolerance:
        stats["stopped_early"] = f"a residual of {now.residual:.2g} after {number} passes"
    elif (now.sizes(now.cut) > now.bars(tolerance)).any():
        stats["stopped_early"] = f"the first direction isn't settled after {number} passes"
    elif now.doubtful().any():
        stats["stopped_early"] = "what late terms leave of a direction can't be told from an error"
    elif jumps := now.jumps(tolerance):
        edge = ", ".join(f"{name} {problem.ratios[name]:g}" for name in jumps)
        stats["stopped_early"] = f"an eigenvalue too close to its ratio to say which side it is on ({edge})"
    split = len(problem.weights)
    beyond = [remove(each.T, ritz.Q).T for each in R[:split]]
    random = [0 if known else each * problem.people for known in exact[:split]]
    end = end._replace(
        result=replace(end.result, stats=end.result.stats | stats),
        factors=[root(H) for H in last.grams],
        coefficients=torch.eye(V.shape[1]).to(V),
        rest=end.rest + sum(float(each.square().sum()) * w for each, w in zip(beyond, problem.weights, strict=True)),
        rest_error=trace_error(beyond, problem.weights, random),
        pairs=V if problem.projection == "early" else now.X,
        removed=now.cut.every,
    )
    rank = V.shape[1]
    return with_split_half_stability(
        end, sums, lambda half: subspace_of(problem, GroupState.together(half), D, exact, rank)
    )


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


def charged(problem: Problem, ritz: Ritz, now: Checked, q: Tensor) -> Tensor:
    """(n, b), q (n, b) in the span multiplied with an energy that is above 1 where a term's is above its threshold."""
    y = ritz.Q.T @ q
    total = torch.zeros_like(q)
    for G, spectrum in zip(ritz.GQ[len(problem.weights) :], now.some, strict=True):
        total = total + G @ y / (spectrum.threshold or 1.0)
    if len(now.values):
        total = total + remove(ritz.activated(problem) @ y, now.cut.first) / (problem.activate_ratio * now.values[0])
    return total


def steady_whole(problem: Problem, end: Found, groups: list[Reply]) -> Found:
    """The end of a search that knows whole Jacobians, with what halves of the people would have found."""
    shares = [problem.activate_ratio] * len(problem.weights) + [*problem.ratios.values()]
    near = [end.result.vectors, *(strong(F, share) for F, share in zip(end.factors, shares, strict=True))]
    D = InnerProduct(near[0][:, :0].T).orthonormal(torch.cat(near, 1), near[0][:, :0])
    sums = [GroupState(group.people, group.rows, [None for _ in problem.sizes]) for group in groups]
    exact, rank = [True] * len(problem.sizes), end.result.vectors.shape[1]

    def subspace(half: list[GroupState]) -> Tensor:
        some, span = GroupState.together(half), D
        for _ in range(STEPS):
            span = Checked.of(problem, Ritz.of(some.R, span, some.GD), some.R, exact).wider.Q
        return subspace_of(problem, some, span, exact, rank)

    return with_split_half_stability(end, sums, subspace)


class GroupState(NamedTuple):
    """What a search has been told of a group of people.

    Attributes:
        people: how many.
        R: (r_i, n) of every term, a factor of its energy or of an estimate.
        GD: (n, d) products of every term with the directions so far, None where R is exact.
    """

    people: int
    R: list[Tensor]
    GD: list[Tensor | None]

    def extended(self, many: list[int], products: list[Tensor]) -> GroupState:
        """With products (n, b) of these terms with further directions."""
        new = dict(zip(many, products, strict=True))
        return self._replace(GD=[None if G is None else torch.cat([G, new[i]], 1) for i, G in enumerate(self.GD)])

    @classmethod
    def together(cls, groups: Sequence[GroupState]) -> GroupState:
        """Of all people in several groups."""
        known = [[G for G in group.GD if G is not None] for group in groups]
        both = together([Reply(g.people, g.R, GD, [], 0) for g, GD in zip(groups, known, strict=True)])
        products = iter(both.products)
        return cls(both.people, both.rows, [None if G is None else next(products) for G in groups[0].GD])


def subspace_of(problem: Problem, group: GroupState, D: Tensor, exact: Sequence[bool], rank: int) -> Tensor:
    """The subspace (n, rank) of a group of people, near that of all of them, without a further product.

    To the span of the directions D (n, d) comes what the group misses there most, its residuals; within these the
    energies of terms without exact factors are what R estimates.
    """
    wider = Checked.of(problem, Ritz.of(group.R, D, group.GD), group.R, exact).wider
    return wider.Q @ solve(problem._replace(rank=rank, activate_ratio=1e-9), wider.factors).vectors

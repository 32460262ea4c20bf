"""The search under early, late and mixed projection: every term's eigenvectors above its ratio, from few products.

A sketch of random rows (Halko et al. 2011) gives the first directions; then each term's residuals are the next ones,
and every term is solved anew in the span of all of them: block Krylov spaces (Musco & Musco 2015) that terms share.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.metric import Metric
from ice_lightning.operators import Dense
from ice_lightning.search import (
    Ask,
    Found,
    Problem,
    Products,
    Rows,
    Sums,
    TooMany,
    energy_of,
    found,
    root,
    solve,
    steady,
    together,
)
from ice_lightning.solvers import Exact

STEPS = 3
"""So many blocks of residuals bring the subspace of all people to that of a half, where whole Jacobians are known."""


def search(problem: Problem, rows: int, tolerance: float, passes: int) -> Generator[Ask, list[Sums], Found | TooMany]:
    """Ask until every strong pair of every term has a small residual; the arguments are BlockKrylov's."""
    few, every = problem.few(), range(len(problem.sizes))
    each = problem.rows_each(rows)
    alone = [problem.only({i: 1.0}) for i in every]
    groups = yield Ask(tuple(Rows(alone[i], None if i in few else each) for i in every))
    first = together(groups)
    R, spent, number = first.rows, groups[0].spent, 1
    energy = energy_of(problem, R)
    many = [i for i in every if i not in few]
    if not many:
        return found(problem, R, None, energy, passes=1, products=spent)
    euclid = Metric(R[0][:0])
    W = torch.cat([strong(F, share / 2) for F, share in zip(R, shares(problem), strict=True)], 1)
    D, left = W[:, :0], 0.0
    sums = [Within(group.people, group.rows, [D if i in many else None for i in every]) for group in groups]
    ritz = Ritz.of(R, D, [D if i in many else None for i in every])
    while number < passes and (W := euclid.orthonormal(W, D)).shape[1]:  # what lies in the span already is rounding
        if spent + W.shape[1] * (1 + len(many)) > problem.n:
            return TooMany(number, spent)
        products = tuple(Products(alone[i], W) for i in many)
        groups = yield Ask(products=products, residual=left if D.shape[1] else None)
        spent, number, D = spent + groups[0].spent, number + 1, torch.cat([D, W], 1)
        sums = [told.extended(many, group.products) for told, group in zip(sums, groups, strict=True)]
        ritz = Ritz.of(R, D, Within.together(sums).GD)
        W, size = residuals(problem, ritz)
        W, left = W[:, size > tolerance], float(size.max())
    stats = {
        "passes": number,
        "products": spent,
        "residual": left,
        "stopped_early": "" if left <= tolerance else f"a residual of {left:.2g} after {number} passes",
    }
    end = found(problem, ritz.factors, ritz.Q, energy, **stats)
    rank = end.result.vectors.shape[1]
    return steady(end, sums, lambda half: subspace_of(problem, Within.together(half), D, rank))


def steady_whole(problem: Problem, end: Found, groups: list[Sums]) -> Found:
    """The end of a search that knows whole Jacobians, with what halves of the people would have found."""
    near = [strong(F, share) for F, share in zip(end.factors, shares(problem), strict=True)]
    D = Metric(near[0][:, :0].T).orthonormal(torch.cat(near, 1), near[0][:, :0])
    sums = [Within(group.people, group.rows, [None for _ in near]) for group in groups]
    rank = end.result.vectors.shape[1]

    def subspace(half: list[Within]) -> Tensor:
        some, span = Within.together(half), D
        for _ in range(STEPS):
            span = widened(problem, some, span)
        return subspace_of(problem, some, span, rank)

    return steady(end, sums, subspace)


def shares(problem: Problem) -> list[float]:
    """From which share of its largest eigenvalue on a term's pairs matter."""
    return [problem.activate_ratio] * len(problem.weights) + [*problem.ratios.values()]


def strong(R: Tensor, share: float, most: int | None = None) -> Tensor:
    """(n, k) eigenvectors of R^T R for R (r, n) with at least `share` of the largest eigenvalue, at most `most`."""
    result = Exact().solve(Dense(R))
    found = int((result.values >= share * result.values[:1]).sum()) if float(result.values[:1].sum()) > 0 else 0
    return result.vectors[:, :found][:, :most]


class Within(NamedTuple):
    """What a search has been told of a group of people.

    Attributes:
        people: how many.
        R: (r_i, n) of every term, a factor of its energy or of an estimate.
        GD: (n, d) products of every term with the directions so far, None where R is exact.
    """

    people: int
    R: list[Tensor]
    GD: list[Tensor | None]

    def extended(self, many: list[int], products: list[Tensor]) -> Within:
        """With products (n, b) of these terms with further directions."""
        new = dict(zip(many, products, strict=True))
        return self._replace(GD=[None if G is None else torch.cat([G, new[i]], 1) for i, G in enumerate(self.GD)])

    @classmethod
    def together(cls, groups: Sequence[Within]) -> Within:
        """Of all people in several groups."""
        known = [[G for G in group.GD if G is not None] for group in groups]
        both = together([Sums(g.people, g.R, GD, [], 0) for g, GD in zip(groups, known, strict=True)])
        products = iter(both.products)
        return cls(both.people, both.rows, [None if G is None else next(products) for G in groups[0].GD])


def widened(problem: Problem, group: Within, D: Tensor) -> Tensor:
    """An orthonormal basis that begins with the span of D (n, d) and adds what the group misses there."""
    ritz = Ritz.of(group.R, D, group.GD)
    return torch.linalg.qr(torch.cat([ritz.Q, residuals(problem, ritz)[0]], 1)).Q


def subspace_of(problem: Problem, group: Within, D: Tensor, rank: int) -> Tensor:
    """The subspace (n, rank) of a group of people, near that of all of them, without a further product.

    To the span of the directions D (n, d) comes what the group misses there most, its residuals; within these the
    energies of terms without exact factors are what R estimates.
    """
    ritz, Q = Ritz.of(group.R, D, group.GD), widened(problem, group, D)
    new = Q[:, D.shape[1] :]
    factors = []
    for R, GQ, GD in zip(group.R, ritz.GQ, group.GD, strict=True):
        if GD is None:
            factors.append(R @ Q)
        else:
            inside, cross, outside = ritz.Q.T @ GQ, GQ.T @ new, (R @ new).T @ (R @ new)
            factors.append(root(torch.cat([torch.cat([inside, cross], 1), torch.cat([cross.T, outside], 1)])))
    return Q @ solve(problem._replace(rank=rank, activate_ratio=1e-9), factors).vectors


class Ritz(NamedTuple):
    """All terms within the span of the directions so far.

    Attributes:
        Q: (n, d) orthonormal.
        factors: (r_i, d), with the Gram matrices of J_i Q.
        GQ: J_i^T J_i Q (n, d) of every term.
    """

    Q: Tensor
    factors: list[Tensor]
    GQ: list[Tensor]

    @classmethod
    def of(cls, R: list[Tensor], D: Tensor, GD: list[Tensor | None]) -> Ritz:
        """From directions D (n, d) and their products, None for terms whose factor R_i is exact."""
        Q, T = torch.linalg.qr(D)
        inverse = torch.linalg.inv(T)
        GQ = [each.T @ (each @ Q) if G is None else G @ inverse for each, G in zip(R, GD, strict=True)]
        factors = [each @ Q if G is None else root(Q.T @ S) for each, G, S in zip(R, GD, GQ, strict=True)]
        return cls(Q, factors, GQ)


def residuals(problem: Problem, ritz: Ritz) -> tuple[Tensor, Tensor]:
    """G q - value q of every term's strong Ritz pairs (n, k), and their lengths relative to the value (k,)."""
    W, size = [], []
    for G, F, share in zip(ritz.GQ, ritz.factors, shares(problem), strict=True):
        x = strong(F, share)
        values = (F @ x).square().sum(0)
        rest = G @ x - ritz.Q @ x * values
        W.append(rest)
        size.append(rest.norm(dim=0) / values)
    return torch.cat(W, 1), torch.cat(size)

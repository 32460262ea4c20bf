"""A person's own subspace: the pencil of their Jacobians, from what the search over people knows.

Directions that are clean on average over people leak for each of them; those of a person's own Jacobians don't. The
pencil is that of `soft`, (A, I + S) with A and S of this person alone, but the largest eigenvalues that charges refer
to are those of the average: else a region that this person hardly has would be blown up.

The search is a block Davidson method (Davidson 1975): residuals, preconditioned, widen the span in which the pencil is
solved. The preconditioner is I + S as far as products have shown it (Nystrom, Frangella et al. 2023), the prior where
they haven't.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ice_lightning.solvers.dense import thin_factor
from ice_lightning.solvers.groups import EnergyEstimate, Group
from ice_lightning.solvers.inner_product import InnerProduct
from ice_lightning.solvers.pencil import known, residuals, ritz, wanted_many
from ice_lightning.solvers.problem import WANTED, Cost, FactorQuery, Problem, ProductQuery, Query, Reply
from ice_lightning.solvers.result import Solution

FEW = 8
"""Up to so many features a term's rows are asked for; those of more cost more than the products that need them."""
TOPS = 8
"""So many of the directions that the average charges most begin the preconditioner."""
CHARGED = 5.0
"""What the average charges less than this is left out of what is kept of it."""
PRIOR = 0.1
"""Share of what the average charges that a person is charged as well. One person's features move by what their networks
happen to see there, too, and a search that knows nothing else finds what these don't see. Beside own energies that are
charged in full it mends little: judged by networks that no search has used, own mouths move 4.1 and 3.5 times as far as
anything else without it, 4.3 and 3.6 times with it, and no farther with three, ten or thirty times as much
(experiments/local/prior.json). Where a criterion charges these less, it is what keeps a person's directions clean."""
TOLERANCE = 0.1
"""Largest residual of a pair in the norm of the pencil as far as it is known, relative to the geometric mean of its
value and the first one: what a pair that is hardly stronger than 0 misses matters less."""
BLOCKS = 16
"""Blocks of products at most."""


@dataclass(frozen=True)
class Average:
    """What the search over people leaves for the searches of single ones.

    Attributes:
        X: (n, k), the average directions.
        charges: of the suppressed terms with any energy, by number: 1 / (ratio * largest eigenvalue over people).
        M: (p, n), whose M^T M is about what the average charges.
        deviations: see `Solution`: how far features are moved by a step that is a deviation long in every coordinate.
    """

    X: Tensor
    charges: Mapping[int, float]
    M: Tensor
    deviations: Mapping[int, float]

    @classmethod
    def of(cls, end: Solution) -> Average:
        """From the end of a search."""
        assert end.charged is not None, "a search ends with what it charges"
        return cls(end.result.vectors, end.charges, strong_rows(end.charged), end.deviations)


def strong_rows(M: Tensor) -> Tensor:
    """M (p, n) by its singular vectors, strongest first, without those that it charges little, (q, n).

    >>> strong_rows(torch.tensor([[0.1, 0.0], [0.0, 3.0]])).abs()
    tensor([[0., 3.]])
    """
    _, s, Vh = torch.linalg.svd(thin_factor([M]), full_matrices=False)
    keep = s.square() >= CHARGED
    return s[keep, None] * Vh[keep]


@dataclass(frozen=True)
class Local:
    """A person's own directions.

    Attributes:
        V: (n, k), of length 1 each; column i is the one that does what the average direction i does.
        values: (k,), activated energy by 1 + what is charged, of each.
        changes: (m, k), how far a step of length 1 moves the features of each term, to first order.
        residual: the largest of a pair, see TOLERANCE.
        agreement: (k,), cosines between the activated changes of own and average directions at this person.
        wanted: (r, n), a factor of the activated energies as far as they are known.
        charged: (p, n), the same of what is charged.
        cost: what it took.
    """

    V: Tensor
    values: Tensor
    changes: Tensor
    residual: float
    agreement: Tensor
    wanted: Tensor
    charged: Tensor
    cost: Cost

    def first(self, count: int) -> Local:
        """The same with the first directions alone."""
        return replace(
            self, V=self.V[:, :count], values=self.values[:count], changes=self.changes[:, :count],
            agreement=self.agreement[:count],
        )  # fmt: skip

    def clean(self, problem: Problem, deviations: Mapping[int, float]) -> Tensor:
        """Activated change per suppressed change of each direction, each in deviations of the features.

        Args:
            problem: whose terms.
            deviations: of the average.

        Returns:
            (k,), by the suppressed term that moves most; infinite where none moves.
        """
        weights = torch.tensor(problem.weights).to(self.changes)
        wanted = (weights[:, None] * self.changes[: len(weights)].square()).sum(0).sqrt() / deviations[WANTED]
        others = [self.changes[i] / deviations[i] for i in problem.suppressed if deviations[i] > 0]
        return wanted / torch.stack([torch.zeros_like(wanted), *others]).amax(0)


def search(problem: Problem, average: Average, answer: Callable[[Query], Reply], count: int) -> Local:
    """Find a person's own directions.

    Args:
        problem: what the average solves, of which the projection doesn't count: the pencil's is soft.
        average: see there.
        answer: to a query, of this person alone.
        count: directions that are wanted, at most as many as the average has.

    Returns:
        As many directions as are wanted, or as the person's activated terms have, matched to the average ones.

    Example:
        See `discovery.local`, which answers with a person's Jacobians.
    """
    problem = problem._replace(sizes=tuple(m if m is not None and m <= FEW else None for m in problem.sizes))
    small, X = problem.small_terms, average.X[:, : min(count, average.X.shape[1])]
    charged = {i: charge for i, charge in average.charges.items() if i not in small}
    asked = tuple(problem.only(energy) for energy in (wanted_many(problem), charged) if energy)
    plain, none = InnerProduct(X[:, :0].T), X[:, :0]
    tops = average.M[:TOPS].T
    first = answer(Query(rows=tuple(FactorQuery(problem.only({i: 1.0})) for i in small)))
    factors = dict.fromkeys((WANTED, *range(len(problem.sizes))), none.T) | dict(zip(small, first.rows, strict=True))
    group, cost = known(problem, average.charges, 1, factors), Cost().after([first])
    A, S = group.energies
    group = group._replace(energies=(A, S._replace(exact=torch.cat([S.exact, average.M * PRIOR**0.5]))))
    if not all(bool(R.isfinite().all()) for R in first.rows):
        return nothing(problem, X, torch.nan, cost)
    D, W = none, torch.cat([tops, X, preconditioner(none, group).inverse(group.energies[0].exact.T)], 1)
    for _ in range(BLOCKS):
        V = plain.orthonormal(W, D)
        if not V.shape[1]:
            break
        reply = answer(Query(products=(ProductQuery(V, asked),)))
        if not all(bool(GV.isfinite().all()) for GV in reply.products):
            return nothing(problem, X, torch.nan, cost.after([reply]))
        D, group, cost = torch.cat([D, V], 1), group.extended(reply.products), cost.after([reply])
        B = preconditioner(D, group)
        values, Y = ritz(group, D, 1e-9, X.shape[1])
        if not len(values):
            return nothing(problem, X, torch.inf, cost)
        R = residuals(group, D, Y, values)
        W = B.inverse(R)
        size = (R * W).sum(0).clamp_min(0).sqrt() / (values * values[0]).sqrt()
        late = size > TOLERANCE
        if not late.any():
            break
        W = W[:, late]
    V, strengths, agreement = matched(group, D, Y, values, X)
    reply = answer(Query(products=(ProductQuery(V, grams=True),)))
    changes = torch.stack([gram.diagonal().clamp_min(0).sqrt() for gram in reply.grams])
    wanted = torch.cat([group.energies[0].exact, nystrom(D, group.energies[0])])
    return Local(V, strengths, changes, float(size.max()), agreement, wanted, B.M, cost.after([reply]))


def nothing(problem: Problem, X: Tensor, residual: float, cost: Cost) -> Local:
    """Of someone in whom no direction changes what is activated, or whose derivatives aren't finite.

    Args:
        problem: whose terms.
        X: (n, k), the average directions.
        residual: infinite, or NaN.
        cost: of the search.
    """
    none, few = X[:, :0], X[0, :0]
    return Local(none, few, X.new_zeros(len(problem.sizes), 0), residual, few, none.T, none.T, cost)


def preconditioner(D: Tensor, group: Group) -> InnerProduct:
    """I + S as far as this person's products show it, with the prior.

    Args:
        D: (n, d), the directions so far.
        group: what is known of this person.
    """
    S = group.energies[1]
    return InnerProduct(torch.cat([S.exact, nystrom(D, S)]))


def nystrom(D: Tensor, S: EnergyEstimate) -> Tensor:
    """(q, n), a factor of the largest energy below S that agrees with it on D, without S's exact rows.

    Args:
        D: (n, d).
        S: the energy, of which products with D are known.
    """
    if S.GD is None:
        return D[:, :0].T
    values, U = torch.linalg.eigh((H := D.T @ S.GD) + H.T)
    keep = values > 1e-7 * values[-1:].clamp_min(1e-300)
    return (S.GD @ (U[:, keep] / (values[keep] / 2).sqrt())).T


def matched(group: Group, D: Tensor, Y: Tensor, values: Tensor, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Own directions in the order and with the signs of the average ones.

    Within the span of the pairs, the rotation whose activated changes come nearest to those of the average directions,
    all of length 1 in the pencil's inner product (orthogonal Procrustes, Schoenemann 1966).

    Args:
        group: what is known of the person.
        D: (n, d), the directions so far, orthonormal; the average ones are in their span.
        Y: (d, k'), the pairs in these.
        values: (k',).
        X: (n, k), the average directions, of which the first k' have a partner.

    Returns:
        Directions (n, k') of length 1, their values (k',), and how near their activated changes are (k',), a cosine.
    """
    A, S = group.energies
    H, G = D.T @ A.times(D), D.T @ S.times(D)
    C = D.T @ X[:, : Y.shape[1]]
    C = C / (C * (C + G @ C)).sum(0).sqrt()
    U, _, Vh = torch.linalg.svd(Y.T @ H @ C)
    own = Y @ (R := U @ Vh)
    between, sizes = (own * (H @ C)).sum(0), (own * (H @ own)).sum(0) * (C * (H @ C)).sum(0)
    V = D @ own
    agreement = torch.where(sizes > 0, between / sizes.clamp_min(1e-300).sqrt(), 0).clamp(-1, 1)
    return V / V.norm(dim=0), (R.square() * values[:, None]).sum(0), agreement

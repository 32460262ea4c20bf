"""The pencil (A, I + S) of soft projection, as far as a search knows it: pairs, residuals, what is beyond its span."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ice_lightning.jacobians.operators import remove
from ice_lightning.solvers.accuracy import first_bar, trace_error
from ice_lightning.solvers.groups import EnergyEstimate, Group, join
from ice_lightning.solvers.inner_product import InnerProduct, ritz_pairs
from ice_lightning.solvers.largest import Tip
from ice_lightning.solvers.problem import WANTED, Problem, Reply, Weights
from ice_lightning.solvers.result import Solution, with_split_half_stability

STEPS = 4
"""So many blocks of residuals bring the subspace of all people to that of a half, where whole Jacobians are known."""


@dataclass(frozen=True)
class Pencil:
    """(A, I + S) as it is known once the largest eigenvalues are.

    Attributes:
        sketch: the answers to `Sketching` for everyone.
        tips: of the suppressed terms with any energy, by number.
        charges: their weights in S, 1 / (ratio * largest eigenvalue).
        unsure: by how much a charge may be off, relative to it.
        norm: I + S as the sketch says.
    """

    sketch: Reply
    tips: Mapping[int, Tip]
    charges: Mapping[int, float]
    unsure: float
    norm: InnerProduct


@dataclass(frozen=True)
class Pairs:
    """Eigenpairs of the pencil in a span.

    Attributes:
        values: (k,), descending.
        X: (n, k).
        Y: (d, k), their coordinates in the directions so far; (0, k) before there are any.
    """

    values: Tensor
    X: Tensor
    Y: Tensor


def wanted_many(problem: Problem) -> dict[int, float]:
    """The weights of the activated terms with many features, by number."""
    return {i: w for i, w in problem.activated.items() if i not in problem.small_terms}


def by_term(problem: Problem, sketch: Reply) -> dict[int, Tensor]:
    """The factors of a sketch by the number of their term, those of the activated ones with many features by WANTED.

    Args:
        problem: whose terms.
        sketch: the answer to what `soft.init` asks.

    Returns:
        (r_i, n) each.
    """
    small = problem.small_terms
    order = [*small, WANTED, *(i for i in problem.suppressed if i not in small)]
    return dict(zip(order, sketch.rows, strict=True))


def energies(problem: Problem, pencil: Pencil) -> tuple[Weights, ...]:
    """What directions are multiplied with: A and S without the terms that have few features, where there are others.

    Args:
        problem: whose terms.
        pencil: with the charges.
    """
    charged = {i: charge for i, charge in pencil.charges.items() if i not in problem.small_terms}
    return tuple(problem.only(energy) for energy in (wanted_many(problem), charged) if energy)


def relative_residuals(group: Group, D: Tensor, Y: Tensor, values: Tensor, B: InnerProduct) -> Tensor:
    """The residuals of pairs x = D Y, relative to their values, in the norm of the pencil as far as it is known.

    Args:
        group: of people.
        D: (n, d), the directions so far.
        Y: (d, k).
        values: (k,).
        B: the norm.

    Returns:
        (k,).
    """
    rest = residuals(group, D, Y, values)
    return (rest * B.inverse(rest)).sum(0).clamp_min(0).sqrt() / (values * B.embed(D @ Y).norm(dim=0))


def shares(X: Tensor, values: Tensor, B: InnerProduct) -> Tensor:
    """The shares of the tolerance that residuals of pairs may have: smaller for the first, where it is alone.

    Residuals are of vectors that are long in B where they are charged much, angles of the same in plain coordinates.

    Args:
        X: (n, k), pairs of the pencil.
        values: (k,), descending.
        B: the norm of residuals.

    Returns:
        (k,).
    """
    found = torch.ones_like(values)
    if len(values):
        gap = float(1 - values[1:2].sum() / values[0])
        found[0] = first_bar(gap) * float(X[:, 0].norm() / B.embed(X[:, :1]).norm())
    return found


def energy_beyond(A: EnergyEstimate, D: Tensor, AD: Tensor, V: Tensor, rows: int) -> tuple[float, float]:
    """The activated energy outside the span of some directions, and its standard error.

    Args:
        A: what is known of the activated terms.
        D: (n, d), directions whose products are known.
        AD: (n, d), these.
        V: (n, k), the directions, themselves in the span of D.
        rows: from how many random rows the estimate is.
    """
    U, s, Vh = torch.linalg.svd(D, full_matrices=False)
    keep = s > 1e-6 * s[:1]
    Q, AQ = U[:, keep], AD @ (Vh[keep].T / s[keep])
    C = Q.T @ torch.linalg.qr(V).Q
    inside, own = (Q * AQ).sum(), (C * (Q.T @ AQ @ C)).sum()
    exact, estimated = (remove(each.T, Q).T for each in (A.exact, A.sketch))
    rest = inside - own + exact.square().sum() + estimated.square().sum()
    return max(0.0, float(rest)), trace_error([estimated], [1.0], [rows])


def known(problem: Problem, charges: Mapping[int, float], people: int, factors: Mapping[int, Tensor]) -> Group:
    """What is known of a group before any direction.

    Args:
        problem: whose terms these are.
        charges: of the suppressed terms, by number.
        people: how many.
        factors: (r, n) by number of the term, and WANTED: exact ones of terms with few features, estimates of others.
    """
    none = factors[WANTED][:0]

    def energy(weights: Mapping[int, float], sketch: Tensor, others: bool) -> EnergyEstimate:
        exact = torch.cat([none, *(factors[i] * w**0.5 for i, w in weights.items() if i in problem.small_terms)])
        return EnergyEstimate(exact, sketch, none.T if others else None)

    many = {i: charge for i, charge in charges.items() if i not in problem.small_terms}
    charged = torch.cat([none, *(factors[i] * charge**0.5 for i, charge in many.items())])
    A = energy(problem.activated, factors[WANTED], bool(wanted_many(problem)))
    return Group(people, (A, energy(charges, charged, bool(many))))


def ritz(group: Group, D: Tensor, share: float, most: int | None) -> tuple[Tensor, Tensor]:
    """Eigenpairs of (A, I + S) in the span of the directions so far.

    Args:
        group: of people.
        D: (n, d), the directions.
        share: see `inner_product.strongest`, as is most.
        most: see there.

    Returns:
        values (k,), descending; coefficients (d, k).
    """
    A, S = group.energies
    return ritz_pairs(D.T @ A.times(D), D.T @ (D + S.times(D)), share, most)


def residuals(group: Group, D: Tensor, Y: Tensor, values: Tensor) -> Tensor:
    """A x - value (I + S) x for x = D Y.

    Args:
        group: of people.
        D: (n, d), the directions so far.
        Y: (d, k).
        values: (k,).

    Returns:
        (n, k).
    """
    A, S = group.energies
    return A.times(D) @ Y - (D + S.times(D)) @ Y * values


def subspace_of(group: Group, D: Tensor, B: InnerProduct, rank: int) -> Tensor:
    """The subspace of some people near that of all of them, without a further product.

    To the span of D comes what these people miss there most, their residuals through what is known of their own
    I + S; among these the energies are estimates. Charges are those of everyone.

    Args:
        group: these people.
        D: (n, d), the directions so far.
        B: in which D is orthonormal.
        rank: directions of the subspace.

    Returns:
        (n, rank).
    """
    values, Y = ritz(group, D, 0.0, rank)
    own = InnerProduct(group.energies[1].estimate())
    W = B.orthonormal(own.inverse(residuals(group, D, Y, values)), D)
    Q, (A, S) = torch.cat([D, W], 1), group.energies
    return Q @ ritz_pairs(A.gram(D, W), S.gram(D, W) + Q.T @ Q, 0.0, rank)[1]


def whole_stability(problem: Problem, end: Solution, replies: list[Reply]) -> Solution:
    """The end of a search that knows whole Jacobians, with what halves of the people would have found.

    Args:
        problem: what was searched.
        end: from the Jacobians of everyone.
        replies: of disjoint groups of people.
    """
    exact = problem._replace(sizes=tuple(0 for _ in problem.sizes))
    groups = [
        known(exact, end.charges, reply.people, {**dict(enumerate(reply.rows)), WANTED: reply.rows[0][:0]})
        for reply in replies
    ]
    B = InnerProduct(join(groups).energies[1].estimate())
    near = B.orthonormal(end.result.vectors, end.result.vectors[:, :0])
    rank = near.shape[1]

    def subspace(half: list[Group]) -> Tensor:
        some, D = join(half), near
        for _ in range(STEPS):
            values, Y = ritz(some, D, 0.0, rank)
            D = torch.cat([D, B.orthonormal(B.inverse(residuals(some, D, Y, values)), D)], 1)
        return D @ ritz(some, D, 0.0, rank)[1]

    return with_split_half_stability(end, groups, subspace)

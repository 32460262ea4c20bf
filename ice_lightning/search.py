"""Which sums over people a search asks for, until its subspace is found.

A search is a Python generator: it yields what it wants summed over all people (`Ask`), is sent the sums of disjoint
groups of them (`Sums`), and returns what it `Found`. Whoever drives it decides how: Lightning by one epoch per ask, a
test by dense matrices. All that a search keeps follows from the sums that it was sent, so that sending them again
resumes it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ice_lightning.operators import Dense, Sum
from ice_lightning.projection import Bad, fix_signs, project
from ice_lightning.solvers import EigenResult, Exact, thin_factor


class Problem(NamedTuple):
    """A criterion as the search sees it: terms by number, the activated ones first.

    Attributes:
        n: coordinates that may move.
        weights: of the activated terms.
        ratios: of the suppressed terms, by name.
        projection: early, late, soft or mixed.
        late: with mixed, which suppressed terms are projected out late.
        activate_ratio: see projection.project.
        rank: the cap, None for none.
    """

    n: int
    weights: tuple[float, ...]
    ratios: Mapping[str, float]
    projection: str
    late: tuple[str, ...]
    activate_ratio: float
    rank: int | None


class Ask(NamedTuple):
    """What is wanted of every person next, averaged over people.

    Attributes:
        rows: None for whole Jacobians; else J_i of every term with few features, and so many random combinations of
            the rows of every other.
        V: (n, b), or None; J_i^T J_i V of every term that isn't known exactly.
    """

    rows: int | None = None
    V: Tensor | None = None


class Sums(NamedTuple):
    """The answer to an Ask for a group of people, by term.

    Attributes:
        people: how many.
        factors: (r_i, n) with R^T R equal to the mean of J_i^T J_i, or to an estimate of it.
        exact: which of them are equal.
        products: mean J_i^T J_i V (n, b); of exact terms None.
        spent: products with a Jacobian or its transpose that an Ask took per person.
    """

    people: int
    factors: list[Tensor]
    exact: list[bool]
    products: list[Tensor | None]
    spent: int


def together(groups: Sequence[Sums]) -> Sums:
    """The answer of several groups for all of their people."""
    people = sum(group.people for group in groups)
    shares = [group.people / people for group in groups]
    factors = [
        thin_factor([R * share**0.5 for R, share in zip(parts, shares, strict=True)])
        for parts in zip(*(group.factors for group in groups), strict=True)
    ]
    products: list[Tensor | None] = []
    for parts in zip(*(group.products for group in groups), strict=True):
        known = [G * share for G, share in zip(parts, shares, strict=True) if G is not None]
        products.append(torch.stack(known).sum(0) if known else None)
    return groups[0]._replace(people=people, factors=factors, products=products)


class Found(NamedTuple):
    """The end of a search.

    Attributes:
        result: of `project`, vectors (n, k); passes and products in its stats.
        factors: of every term, (r_i, d).
        coefficients: (d, k); factors[i] @ coefficients has the Gram matrix of J_i V.
        energy: trace of the activated terms' Gram matrix, or an unbiased estimate of it.
    """

    result: EigenResult
    factors: list[Tensor]
    coefficients: Tensor
    energy: float


Search = Generator[Ask, list[Sums], Found]


def solve(problem: Problem, factors: list[Tensor]) -> EigenResult:
    """`project` on dense factors of all terms (r_i, d)."""
    split = len(problem.weights)
    A = Sum([Dense(R) for R in factors[:split]], problem.weights)
    dense = Exact()
    bad = {
        name: Bad(dense.solve(Dense(R)), share)
        for (name, share), R in zip(problem.ratios.items(), factors[split:], strict=True)
    }
    return project(A, bad, problem.projection, problem.late, problem.activate_ratio, dense, problem.rank)


def found(problem: Problem, factors: list[Tensor], Q: Tensor | None, energy: float, **stats: Any) -> Found:
    """The end of a search: solve within the span of Q (n, d), or in all coordinates."""
    result = solve(problem, factors)
    vectors = result.vectors if Q is None else fix_signs(Q @ result.vectors)
    signs = (vectors * (result.vectors if Q is None else Q @ result.vectors)).sum(0).sign()
    facts = {"residual": 0.0, "stopped_early": "", "stability": None} | stats
    return Found(replace(result, vectors=vectors, stats=result.stats | facts), factors, result.vectors * signs, energy)


def energy_of(problem: Problem, factors: list[Tensor]) -> float:
    """Trace of the activated terms' Gram matrix."""
    return sum(float(R.square().sum()) * w for R, w in zip(factors, problem.weights, strict=False))

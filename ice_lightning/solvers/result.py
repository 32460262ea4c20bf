"""What a search ends with, and the algebra on dense factors that ends it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ice_lightning.jacobians.operators import Dense, Sum
from ice_lightning.solvers.dense import DenseSVD, EigenResult
from ice_lightning.solvers.inner_product import InnerProduct
from ice_lightning.solvers.problem import Problem, Query, Reply
from ice_lightning.solvers.projection import SuppressedSpectrum, fix_signs, project
from ice_lightning.solvers.stability import Group, stability


class Found(NamedTuple):
    """The end of a search.

    Attributes:
        result: of `project`, vectors (n, k); passes, products, residual and stability in its stats.
        factors: of every term, (r_i, d).
        coefficients: (d, k); factors[i] @ coefficients has the Gram matrix of J_i V.
        rest: the activated energy (trace) outside the span of the directions, or an unbiased estimate of it.
        rest_error: that estimate's standard error; 0 where it is exact.
        pairs: (n, k'), the eigenvectors of which `late` and `mixed` make directions; under `early` and `soft` these.
        removed: (n, q) orthonormal, what was projected out as far as the search knows it.
        norm: under `soft`, that of its residuals; the pencil's, as far as the search knows it.
    """

    result: EigenResult
    factors: list[Tensor]
    coefficients: Tensor
    rest: float
    rest_error: float
    pairs: Tensor
    removed: Tensor
    norm: InnerProduct | None = None


class TooMany(NamedTuple):
    """The end of a search that would take more products than whole Jacobians.

    Attributes:
        passes: over the people, until now.
        spent: products per person, until now.
        residual: the largest of a wanted pair, as in Query.
    """

    passes: int
    spent: int
    residual: float | None


Search = Generator[Query, list[Reply], Found]


def solve(problem: Problem, factors: list[Tensor]) -> EigenResult:
    """`project` on dense factors of all terms (r_i, d)."""
    split = len(problem.weights)
    A = Sum([Dense(R) for R in factors[:split]], problem.weights)
    dense = DenseSVD()
    bad = {
        name: SuppressedSpectrum(dense.solve(Dense(R)), share)
        for (name, share), R in zip(problem.ratios.items(), factors[split:], strict=True)
    }
    return project(A, bad, problem.projection, problem.late, problem.activate_ratio, dense, problem.rank)


def found(problem: Problem, factors: list[Tensor], Q: Tensor | None, **stats: Any) -> Found:
    """The end of a search: solve within the span of Q (n, d), or in all coordinates."""
    result = solve(problem, factors)
    vectors = result.vectors if Q is None else fix_signs(Q @ result.vectors)
    signs = (vectors * (result.vectors if Q is None else Q @ result.vectors)).sum(0).sign()
    facts = {"residual": 0.0, "stopped_early": "", "stability": None} | stats
    result, coefficients = replace(result, vectors=vectors, stats=result.stats | facts), result.vectors * signs
    basis = torch.linalg.qr(coefficients).Q
    rest = sum(
        float(R.square().sum() - (R @ basis).square().sum()) * w for R, w in zip(factors, problem.weights, strict=False)
    )
    return Found(result, factors, coefficients, max(0.0, rest), 0.0, vectors, vectors[:, :0])


def with_split_half_stability(end: Found, groups: Sequence[Group], subspace: Callable[[list[Group]], Tensor]) -> Found:
    """The end of a search with the stability figure (`stability.stability`) in its stats."""
    stats = end.result.stats | {"stability": stability(groups, subspace)}
    return end._replace(result=replace(end.result, stats=stats))

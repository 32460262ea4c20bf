"""What a search ends with, why it ended, and the algebra on dense factors that ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from ice_lightning.jacobians.operators import Dense, Sum
from ice_lightning.solvers.dense import DenseSVD, root, thin_factor
from ice_lightning.solvers.groups import Group
from ice_lightning.solvers.inner_product import InnerProduct
from ice_lightning.solvers.largest import LargestEigenvalue
from ice_lightning.solvers.problem import WANTED, Cost, Problem
from ice_lightning.solvers.projection import ProjectedResult, SuppressedSpectrum, fix_signs, project
from ice_lightning.solvers.stability import Stability, stability


class Stop(Enum):
    """Why a search ended; the value is the sentence, of which `Stopped.message` fills in the facts."""

    SETTLED = ""
    PASSES = "a residual of {residual:.2g} after {passes} passes"
    FIRST_UNSETTLED = "the first direction isn't settled after {passes} passes"
    LATE_IN_DOUBT = "what late terms leave of a direction can't be told from an error"
    NEAR_RATIO = "an eigenvalue too close to its ratio to say which side it is on ({terms})"
    WHOLE_JACOBIANS = "whole Jacobians take fewer products, so many directions are above the ratios ({terms})"


@dataclass(frozen=True)
class Stopped:
    """Why a search ended, with the facts.

    Attributes:
        why: see `Stop`.
        passes: over the people.
        residual: the largest of what is returned, relative to its eigenvalue.
        terms: names and ratios of the terms that the sentence names.

    Example:
        >>> Stopped(Stop.PASSES, passes=40, residual=0.5).message
        'a residual of 0.5 after 40 passes'
    """

    why: Stop
    passes: int = 0
    residual: float = 0.0
    terms: str = ""

    @property
    def message(self) -> str:
        """One sentence, empty where every direction has a small residual."""
        return self.why.value.format(passes=self.passes, residual=self.residual, terms=self.terms)


SETTLED = Stopped(Stop.SETTLED)


@dataclass(frozen=True)
class Solution:
    """The end of a search.

    Attributes:
        result: of `project`, vectors (n, k).
        factors: of every term, (r_i, d).
        coefficients: (d, k); factors[i] @ coefficients has the Gram matrix of J_i V.
        rest: the activated energy (trace) outside the span of the directions, or an unbiased estimate of it.
        rest_error: that estimate's standard error; 0 where it is exact.
        pairs: (n, k'), the eigenvectors of which `late` and `mixed` make directions; under `early` and `soft` these.
        removed: (n, q) orthonormal, what was projected out as far as the search knows it.
        cost: what it took.
        residual: the largest of the pairs, relative to its eigenvalue.
        stopped: why the search ended.
        norm: under `soft`, that of its residuals; the pencil's, as far as the search knows it.
        stability: between halves of the people, None where they are few.
        charges: of the suppressed terms with any energy, by number: 1 / (ratio * largest eigenvalue).
        charged: (r, n), a factor of the suppressed energies by these charges, or of an estimate of them.
        deviations: by number of the suppressed term, and by WANTED for the activated ones together: the root of the
            trace of the energy, or of an estimate of it.
    """

    result: ProjectedResult
    factors: list[Tensor]
    coefficients: Tensor
    rest: float
    rest_error: float
    pairs: Tensor
    removed: Tensor
    cost: Cost
    residual: float = 0.0
    stopped: Stopped = SETTLED
    norm: InnerProduct | None = None
    stability: Stability | None = None
    charges: Mapping[int, float] = field(default_factory=dict)
    charged: Tensor | None = None
    deviations: Mapping[int, float] = field(default_factory=dict)

    @property
    def stopped_early(self) -> str:
        """Why the search ended before every kept direction had a small residual; empty where it didn't."""
        return self.stopped.message


@dataclass(frozen=True)
class TooManyProducts:
    """The end of a search that would take more products than whole Jacobians.

    Attributes:
        cost: until now.
        residual: the largest of a wanted pair, as in Query.
    """

    cost: Cost
    residual: float | None


def project_factors(problem: Problem, factors: list[Tensor]) -> ProjectedResult:
    """`project` on dense factors of all terms.

    Args:
        problem: whose terms these are.
        factors: (r_i, d) each.

    Returns:
        k pairs; vectors (d, k).
    """
    split = len(problem.weights)
    A = Sum([Dense(R) for R in factors[:split]], problem.weights)
    dense = DenseSVD()
    bad = {
        name: SuppressedSpectrum(dense.solve(Dense(R)), share)
        for (name, share), R in zip(problem.ratios.items(), factors[split:], strict=True)
    }
    return project(A, bad, problem.projection, problem.late, problem.activate_ratio, dense, problem.rank)


def solution(problem: Problem, factors: list[Tensor], Q: Tensor | None, cost: Cost, **facts: Any) -> Solution:
    """The end of a search: `project_factors` within a span, or in all coordinates.

    Args:
        problem: what was asked.
        factors: (r_i, d), of the terms within the span.
        Q: (n, d) orthonormal, the span; None for all coordinates.
        cost: what the search took.
        facts: further fields of Solution.
    """
    result = project_factors(problem, factors)
    vectors = result.vectors if Q is None else fix_signs(Q @ result.vectors)
    signs = (vectors * (result.vectors if Q is None else Q @ result.vectors)).sum(0).sign()
    result, coefficients = replace(result, vectors=vectors), result.vectors * signs
    basis = torch.linalg.qr(coefficients).Q
    rest = sum(
        float(R.square().sum() - (R @ basis).square().sum()) * w for R, w in zip(factors, problem.weights, strict=False)
    )
    charges = charges_of(problem, factors)
    known: dict[str, Any] = {"cost": cost, "charges": charges, "deviations": deviations_of(problem, factors)}
    known["charged"] = None if Q is not None else charged_rows(charges, factors)
    return Solution(result, factors, coefficients, max(0.0, rest), 0.0, vectors, vectors[:, :0], **(known | facts))


def beside_tips(grams: Sequence[Tensor], tips: Mapping[int, float]) -> list[Tensor]:
    """Factors of terms within a span, each beside its largest eigenvalue, which lies in a coordinate of its own.

    Args:
        grams: (d, d) of every term in the span.
        tips: the largest eigenvalue by number of the term, of those that have one.

    Returns:
        (d + 1, d + t) of every term that has a tip, (d, d + t) of the others.
    """
    factors = []
    for i, H in enumerate(grams):
        own = H.new_tensor([[value**0.5 if i == j else 0.0 for j, value in tips.items()]])
        F = root(H)
        factors.append(torch.block_diag(F, own) if i in tips else torch.cat([F, F.new_zeros(len(F), len(tips))], 1))
    return factors


def charges_of(problem: Problem, factors: Sequence[Tensor]) -> dict[int, float]:
    """What a unit of each suppressed term's energy is charged, by its ratio and its largest eigenvalue.

    Args:
        problem: whose terms.
        factors: (r_i, d) of all terms.

    Returns:
        By number, of terms with any energy.
    """
    largest = {i: LargestEigenvalue.of(factors[i]).value() for i in problem.suppressed}
    return {i: 1 / (ratio * largest[i]) for i, ratio in problem.suppressed.items() if largest[i] > 0}


def deviations_of(problem: Problem, factors: Sequence[Tensor]) -> dict[int, float]:
    """How far features are moved by a random step that is a deviation long in every coordinate, to first order.

    Args:
        problem: whose terms.
        factors: (r_i, n) of all terms, or estimates.

    Returns:
        By number of the suppressed term, and by WANTED for the activated ones together.
    """
    traces = [float(R.square().sum()) for R in factors]
    wanted = sum(weight * traces[i] for i, weight in problem.activated.items())
    return {WANTED: wanted**0.5} | {i: traces[i] ** 0.5 for i in problem.suppressed}


def charged_rows(charges: Mapping[int, float], factors: Sequence[Tensor]) -> Tensor:
    """A factor of what suppressed terms are charged together.

    Args:
        charges: by number of the term.
        factors: (r_i, n) of all terms, or estimates.

    Returns:
        (r, n).
    """
    return thin_factor([factors[0][:0], *(factors[i] * charge**0.5 for i, charge in charges.items())])


def with_split_half_stability(
    end: Solution, groups: Sequence[Group], subspace: Callable[[list[Group]], Tensor]
) -> Solution:
    """The end of a search with its `stability`.

    Args:
        end: without.
        groups: what is known of the people.
        subspace: of several groups, (n, k).
    """
    return replace(end, stability=stability(groups, subspace))

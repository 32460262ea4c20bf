"""Which sums over people a search asks for, until its subspace is found.

A search is a Python generator: it yields what it wants summed over all people (`Ask`), is sent the sums (`Sums`), and
returns what it `Found`. Whoever drives it decides how: Lightning by one epoch per ask, a test by dense matrices. All
that a search keeps follows from the sums that it was sent, so that sending them again resumes it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ice_lightning.checks import at_least, ratio
from ice_lightning.operators import Dense
from ice_lightning.projection import Bad, fix_signs, project
from ice_lightning.solvers import EigenResult, Exact


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
    """The answer to an Ask, by term.

    Attributes:
        factors: (r_i, n) with R^T R equal to the mean of J_i^T J_i, or to an estimate of it.
        exact: which of them are equal.
        products: mean J_i^T J_i V (n, b); of exact terms None.
        spent: products with a Jacobian or its transpose that an Ask took per person.
    """

    factors: list[Tensor]
    exact: list[bool]
    products: list[Tensor | None]
    spent: int


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


Search = Generator[Ask, Sums, Found]


def solve(problem: Problem, factors: list[Tensor]) -> EigenResult:
    """`project` on dense factors of all terms (r_i, d)."""
    split = len(problem.weights)
    A = Dense(torch.cat([R * w**0.5 for R, w in zip(factors, problem.weights, strict=False)]))
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
    facts = {"residual": 0.0, "stopped_early": ""} | stats
    return Found(replace(result, vectors=vectors, stats=result.stats | facts), factors, result.vectors * signs, energy)


def energy_of(problem: Problem, factors: list[Tensor]) -> float:
    """Trace of the activated terms' Gram matrix."""
    return sum(float(R.square().sum()) * w for R, w in zip(factors, problem.weights, strict=False))


@dataclass(frozen=True)
class Whole:
    """Whole Jacobians in one pass: as many products per person as the latent has coordinates.

    Attributes:
        chunk: products at a time.
    """

    chunk: int = 8

    def __post_init__(self) -> None:
        """Refuse to make no product."""
        at_least("solver.chunk", self.chunk, 1)

    def search(self, problem: Problem) -> Search:
        """Ask once."""
        sums = yield Ask()
        return found(problem, sums.factors, None, energy_of(problem, sums.factors), passes=1, products=sums.spent)


def wider(problem: Problem, factors: list[Tensor], activate_ratio: float) -> EigenResult:
    """`solve` down to a lower activate_ratio, two directions over the cap: what crowds the last kept one."""
    rank = None if problem.rank is None else problem.rank + 2
    return solve(problem._replace(rank=rank, activate_ratio=activate_ratio), factors)


def root(H: Tensor) -> Tensor:
    """F (d, d) with F^T F = H, for a symmetric H (d, d) whose negative eigenvalues are rounding."""
    values, U = torch.linalg.eigh((H + H.T) / 2)
    return values.clamp_min(0).sqrt()[:, None] * U.T


def top(R: Tensor, share: float, most: int | None = None) -> Tensor:
    """(n, k) eigenvectors of R^T R for R (r, n) with at least `share` of the largest eigenvalue, at most `most`."""
    result = Exact().solve(Dense(R))
    found = int((result.values >= share * result.values[:1]).sum()) if float(result.values[:1].sum()) > 0 else 0
    return result.vectors[:, :found][:, :most]


@dataclass(frozen=True)
class Metric:
    """B = I + M^T M with few rows, from estimates of the suppressed terms: what a direction is charged under `soft`.

    Attributes:
        M: (p, n).
    """

    M: Tensor

    def inverse(self, V: Tensor) -> Tensor:
        """B^-1 V for V (n, b), by the Woodbury identity."""
        inner = torch.eye(len(self.M), dtype=V.dtype, device=V.device) + self.M @ self.M.T
        return V - self.M.T @ torch.cholesky_solve(self.M @ V, torch.linalg.cholesky(inner))

    def embed(self, V: Tensor) -> Tensor:
        """(n + p, b), whose ordinary inner products are those of V (n, b) in B."""
        return torch.cat([V, self.M @ V])

    def orthonormal(self, W: Tensor, D: Tensor) -> Tensor:
        """W (n, b) made orthonormal in B and orthogonal to D (n, d), which is; columns in its span are dropped."""
        for _ in range(2):
            W = W / self.embed(W).norm(dim=0).clamp_min(1e-300)
            W = W - D @ (self.embed(D).T @ self.embed(W))
            _, s, Vh = torch.linalg.svd(self.embed(W), full_matrices=False)
            keep = s > 1e-6
            W = W @ (Vh.T[:, keep] / s[keep])
        return W


@dataclass(frozen=True)
class BlockKrylov:
    """The subspace from products with a few vectors: a preconditioned block Krylov method.

    The first pass takes random combinations of the rows of every large term (a sketch; Halko et al. 2011). It gives
    first directions, and under `soft` an approximate inverse of what suppressed terms charge. Every further pass takes
    exact products with what is missing, the residuals (through that inverse, as in Golub & Ye 2002), and solves the
    criterion anew within the span of all directions so far, where everything is exact (Rayleigh and Ritz). Where more
    products would be taken than whole Jacobians need, those are taken instead.

    Attributes:
        chunk: products at a time.
        rows: random rows of a large term per person.
        tolerance: largest residual of a kept direction, relative to its eigenvalue.
        passes: at most so many over the people.
    """

    chunk: int = 8
    rows: int = 16
    tolerance: float = 0.1
    passes: int = 20

    def __post_init__(self) -> None:
        """Refuse settings that can't end."""
        at_least("solver.chunk", self.chunk, 1)
        at_least("solver.rows", self.rows, 1)
        at_least("solver.passes", self.passes, 2)
        ratio("solver.tolerance", self.tolerance)

    def search(self, problem: Problem) -> Search:
        """Ask until every kept direction has a small residual."""
        sums = yield Ask(rows=self.rows)
        R, known, spent = sums.factors, sums.exact, sums.spent
        energy = energy_of(problem, R)
        if all(known):
            return found(problem, R, None, energy, passes=1, products=spent)
        B, W = (soft_start if problem.projection == "soft" else hard_start)(problem, R, known)
        residuals = soft_residuals if problem.projection == "soft" else hard_residuals
        D = W[:, :0]
        GD = [None if each else D for each in known]
        for number in range(2, self.passes + 1):
            W = B.orthonormal(W, D)
            if not W.shape[1]:
                break  # what is missing lies in the span already: rounding
            spent += W.shape[1] * (1 + known.count(False))
            if spent > problem.n:
                R = (yield Ask()).factors
                why = "whole Jacobians take fewer products"
                spent += problem.n - W.shape[1] * (1 + known.count(False))
                return found(problem, R, None, energy_of(problem, R), passes=number, products=spent, stopped_early=why)
            sums = yield Ask(V=W)
            D = torch.cat([D, W], 1)
            GD = [
                None if old is None or new is None else torch.cat([old, new], 1)
                for old, new in zip(GD, sums.products, strict=True)
            ]
            ritz = Ritz.of(R, D, GD)
            W, size = residuals(problem, ritz, B)
            if size.max() <= self.tolerance:
                break
            W = W[:, size > self.tolerance]
        left = float(size.max())
        why = "" if left <= self.tolerance else f"a residual of {left:.2g} after {number} passes"
        return found(
            problem, ritz.factors, ritz.Q, energy, passes=number, products=spent, residual=left, stopped_early=why
        )


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


def soft_start(problem: Problem, R: list[Tensor], known: list[bool]) -> tuple[Metric, Tensor]:
    """The charge of the suppressed terms as the sketch R has it, and the directions to begin with."""
    split = len(problem.weights)
    lead = [torch.linalg.matrix_norm(each, 2) if len(each) else 1.0 for each in R]
    charged = zip(R[split:], problem.ratios.values(), lead[split:], strict=True)
    B = Metric(torch.cat([each / (share**0.5 * first) for each, share, first in charged] or [R[0][:0]]))
    wanted = wider(problem, R, problem.activate_ratio / 2).vectors
    # The ratios refer to a term's largest eigenvalue, so that its vector has to be in the span as well.
    firsts = [top(each, 0.0, 1 if exactly else 2) for each, exactly in zip(R[split:], known[split:], strict=True)]
    return B, torch.cat([wanted, *firsts], 1)


def hard_start(problem: Problem, R: list[Tensor], known: list[bool]) -> tuple[Metric, Tensor]:
    """No charge, and every direction that the sketch finds strong in any term."""
    shares = [problem.activate_ratio] * len(problem.weights) + [*problem.ratios.values()]
    return Metric(R[0][:0]), torch.cat([top(each, share / 2) for each, share in zip(R, shares, strict=True)], 1)


def soft_residuals(problem: Problem, ritz: Ritz, B: Metric) -> tuple[Tensor, Tensor]:
    """What is missing in the span, and how much of it (k,), for the pencil and for each suppressed term's first pair.

    For the pencil, of the kept pairs and some below: B^-1 (A x - value S x), and its length in B over the value.
    """
    split = len(problem.weights)
    wide = wider(problem, ritz.factors, problem.activate_ratio / 2)
    V = wide.vectors
    Ax = sum(G @ V * w for G, w in zip(ritz.GQ, problem.weights, strict=False))
    Sx = ritz.Q @ V
    firsts, sizes = [], []
    for G, F, share in zip(ritz.GQ[split:], ritz.factors[split:], problem.ratios.values(), strict=True):
        _, s, Vh = torch.linalg.svd(F, full_matrices=False)
        if len(s) and s[0] > 0:
            value = s[0].square()
            Sx = Sx + G @ V / (share * value)
            firsts.append(G @ Vh[:1].T - ritz.Q @ Vh[:1].T * value)
            sizes.append(firsts[-1].norm(dim=0) / value)
    rest = Ax - Sx * wide.values
    W = B.inverse(rest)
    size = (rest * W).sum(0).clamp_min(0).sqrt() / (wide.values * B.embed(ritz.Q @ V).norm(dim=0))
    return torch.cat([W, *firsts], 1), torch.cat([size, *sizes])


def hard_residuals(problem: Problem, ritz: Ritz, B: Metric) -> tuple[Tensor, Tensor]:
    """G q - value q of every term's strong Ritz pairs (n, k), and their lengths relative to the value (k,)."""
    shares = [problem.activate_ratio] * len(problem.weights) + [*problem.ratios.values()]
    W, size = [], []
    for G, F, share in zip(ritz.GQ, ritz.factors, shares, strict=True):
        strong = top(F, share)
        values = (F @ strong).square().sum(0)
        rest = G @ strong - ritz.Q @ strong * values
        W.append(rest)
        size.append(rest.norm(dim=0) / values)
    return torch.cat(W, 1), torch.cat(size)

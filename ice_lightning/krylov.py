"""The search with few products: a preconditioned block Krylov method, and whole Jacobians where those are fewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ice_lightning.checks import at_least, ratio
from ice_lightning.operators import Dense
from ice_lightning.products import check_products
from ice_lightning.search import Ask, Found, Problem, Search, Sums, energy_of, found, solve, together
from ice_lightning.solvers import EigenResult, Exact
from ice_lightning.stability import stability


@dataclass(frozen=True)
class Whole:
    """Whole Jacobians in one pass: as many products per person as the latent has coordinates.

    Attributes:
        chunk: products at a time; None for what suits the device (operators.batch_size).
        memory: what products at a time may take, such as 4GB.
    """

    chunk: int | None = None
    memory: str = "4GB"

    def __post_init__(self) -> None:
        """Refuse to make no product."""
        check_products(self.chunk, self.memory)

    def search(self, problem: Problem) -> Search:
        """Ask once."""
        groups = yield Ask()
        return whole(problem, groups, passes=1, products=groups[0].spent)


def whole(problem: Problem, groups: list[Sums], **stats: Any) -> Found:
    """The end of a search that knows all factors exactly."""
    R = together(groups).factors
    end = found(problem, R, None, energy_of(problem, R), **stats)
    B, near = (soft_start if problem.projection == "soft" else hard_start)(problem, R, [True for _ in R])
    near = torch.linalg.qr(near).Q
    sums = [Within(group.people, group.factors, [None for _ in R]) for group in groups]
    return with_stability(problem, end, sums, near, B)


def with_stability(problem: Problem, end: Found, groups: list[Within], D: Tensor, B: Metric) -> Found:
    """The end of a search with what halves of the people would have found (`subspace_of`) in its stats."""
    rank = end.result.vectors.shape[1]
    steady = stability(groups, lambda half: subspace_of(problem, Within.together(half), D, B, rank))
    return end._replace(result=replace(end.result, stats=end.result.stats | {"stability": steady}))


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

    def extended(self, products: list[Tensor | None]) -> Within:
        """With products (n, b) with further directions."""
        both = zip(self.GD, products, strict=True)
        return self._replace(GD=[None if a is None or b is None else torch.cat([a, b], 1) for a, b in both])

    @classmethod
    def together(cls, groups: Sequence[Within]) -> Within:
        """Of all people in several groups."""
        sums = together([Sums(each.people, each.R, [], each.GD, 0) for each in groups])
        return cls(sums.people, sums.factors, sums.products)


def subspace_of(problem: Problem, group: Within, D: Tensor, B: Metric, rank: int) -> Tensor:
    """The subspace (n, rank) of a group of people, near that of all of them, without a further product.

    To the span of the directions D (n, d) comes what the group misses there most, its residuals through B^-1; within
    these the energies of terms without exact factors are what R estimates.
    """
    ritz = Ritz.of(group.R, D, group.GD)
    Q = torch.linalg.qr(torch.cat([ritz.Q, residuals(problem, ritz, B)[0]], 1)).Q
    new = Q[:, D.shape[1] :]
    factors = []
    for R, GQ, GD in zip(group.R, ritz.GQ, group.GD, strict=True):
        if GD is None:
            factors.append(R @ Q)
        else:
            inside, cross, outside = ritz.Q.T @ GQ, GQ.T @ new, (R @ new).T @ (R @ new)
            factors.append(root(torch.cat([torch.cat([inside, cross], 1), torch.cat([cross.T, outside], 1)])))
    return Q @ solve(problem._replace(rank=rank, activate_ratio=1e-9), factors).vectors


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
        rows: random rows of a large term per person.
        tolerance: largest residual of a kept direction, relative to its eigenvalue.
        passes: at most so many over the people.
        chunk: products at a time; None for what suits the device (operators.batch_size).
        memory: what products at a time may take, such as 4GB.
    """

    rows: int = 16
    tolerance: float = 0.1
    passes: int = 20
    chunk: int | None = None
    memory: str = "4GB"

    def __post_init__(self) -> None:
        """Refuse settings that can't end."""
        check_products(self.chunk, self.memory)
        at_least("solver.rows", self.rows, 1)
        at_least("solver.passes", self.passes, 2)
        ratio("solver.tolerance", self.tolerance)

    def search(self, problem: Problem) -> Search:
        """Ask until every kept direction has a small residual."""
        groups = yield Ask(rows=self.rows)
        first = together(groups)
        R, known, spent = first.factors, first.exact, first.spent
        energy = energy_of(problem, R)
        if all(known):
            return whole(problem, groups, passes=1, products=spent)
        B, W = (soft_start if problem.projection == "soft" else hard_start)(problem, R, known)
        D = W[:, :0]
        empty = [None if each else D for each in known]
        sums = [Within(group.people, group.factors, empty) for group in groups]
        for number in range(2, self.passes + 1):
            W = B.orthonormal(W, D)
            if not W.shape[1]:
                break  # what is missing lies in the span already: rounding
            new = W.shape[1] * (1 + known.count(False))
            if spent + new > problem.n:
                why = "whole Jacobians take fewer products"
                groups = yield Ask()
                return whole(problem, groups, passes=number, products=spent + problem.n, stopped_early=why)
            spent += new
            answers = yield Ask(V=W)
            D = torch.cat([D, W], 1)
            sums = [each.extended(answer.products) for each, answer in zip(sums, answers, strict=True)]
            ritz = Ritz.of(R, D, Within.together(sums).GD)
            W, size = residuals(problem, ritz, B)
            if size.max() <= self.tolerance:
                break
            W = W[:, size > self.tolerance]
        left = float(size.max())
        stats = {
            "passes": number,
            "products": spent,
            "residual": left,
            "stopped_early": "" if left <= self.tolerance else f"a residual of {left:.2g} after {number} passes",
        }
        end = found(problem, ritz.factors, ritz.Q, energy, **stats)
        return with_stability(problem, end, sums, D, B)


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


def residuals(problem: Problem, ritz: Ritz, B: Metric) -> tuple[Tensor, Tensor]:
    """What is missing in the span (n, k), and how much of it relative to what is there (k,)."""
    return (soft_residuals if problem.projection == "soft" else hard_residuals)(problem, ritz, B)


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

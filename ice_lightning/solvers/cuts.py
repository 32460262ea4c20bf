"""What hard ratios leave within the span of a search's directions, and how far that is from what they leave in all.

The algebra is `projection`'s: bad pairs of the suppressed terms give P, pairs of P A P are wanted. Here it comes with
residuals, and with what P becomes by one block of bad residuals more: products in the block are known from those of
the span, but for those between its own columns, which are estimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.jacobians.operators import Dense, remove
from ice_lightning.solvers.accuracy import ALONE, first_bar
from ice_lightning.solvers.dense import DenseSVD, root
from ice_lightning.solvers.inner_product import InnerProduct
from ice_lightning.solvers.problem import Problem
from ice_lightning.solvers.projection import LEFT, orthogonalised, union

SETTLED = 0.1
"""What a bad pair's residual may do to a wanted pair, as a share of the tolerance."""

LITTLE = 0.3
"""Where late terms leave less than this of a pair's length, it may be nothing but an error."""

NEAR = 0.7
"""Down to this share of their thresholds pairs are watched, lest one crosses it unseen."""

GAP = 0.1
"""Outside the span a suppressed term has about a threshold less this share of it at most, from which gaps count."""

NOTHING = 1e-10
"""What is left of A's largest eigenvalue is rounding below this share."""

ROUNDING = 1e-6
"""A product's error over the term's root of its largest eigenvalue: eigenvalues are known to this over the root of
their share of the largest."""


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

    def activated(self, problem: Problem) -> Tensor:
        """A Q (n, d)."""
        return torch.stack([G * w for G, w in zip(self.GQ, problem.weights, strict=False)]).sum(0)

    def widened(self, R: list[Tensor], exact: Sequence[bool], W: Tensor) -> Ritz:
        """With a block W (n, b), orthonormal and orthogonal to Q, within which R estimates terms that aren't exact."""
        factors = []
        for F, G, each, known in zip(self.factors, self.GQ, R, exact, strict=True):
            if known:
                factors.append(torch.cat([F, each @ W], 1))
                continue
            inside, cross, outside = self.Q.T @ G, G.T @ W, each @ W
            blocks = torch.cat([torch.cat([inside, cross], 1), torch.cat([cross.T, outside.T @ outside], 1)])
            factors.append(root(blocks))
        GQ = [torch.cat([G, each.T @ (each @ W)], 1) for G, each in zip(self.GQ, R, strict=True)]
        return Ritz(torch.cat([self.Q, W], 1), factors, GQ)


class Spectrum(NamedTuple):
    """Pairs of a suppressed term in the span.

    Attributes:
        energies: (k,), in units of its threshold, descending.
        vectors: (d, k).
        threshold: ratio times the largest energy; 0 where there is none.
    """

    energies: Tensor
    vectors: Tensor
    threshold: float


def spectra(problem: Problem, factors: list[Tensor]) -> list[Spectrum]:
    """Of the suppressed terms, from factors of all terms (r_i, d)."""
    pairs = []
    for R, share in zip(factors[len(problem.weights) :], problem.ratios.values(), strict=True):
        result = DenseSVD().solve(Dense(R))
        threshold = share * float(result.values[:1].sum())
        pairs.append(Spectrum(result.values / (threshold or 1.0), result.vectors, threshold))
    return pairs


def early_terms(problem: Problem) -> list[bool]:
    """Which of the suppressed terms are projected out before A is solved."""
    mixed = problem.projection == "mixed"
    return [problem.projection == "early" or (mixed and name not in problem.late) for name in problem.ratios]


class Cut(NamedTuple):
    """What is projected out of a span (n, d).

    Attributes:
        first: (n, q) orthonormal, bad directions that are projected out before A is solved.
        every: (n, q') orthonormal, all bad directions.
    """

    first: Tensor
    every: Tensor

    @classmethod
    def of(cls, problem: Problem, Q: Tensor, some: list[Spectrum], bars: Sequence[Tensor | float]) -> Cut:
        """From spectra in the span of Q (n, d), where energies reach the bars, by term (1 for their thresholds)."""
        bad = [s.vectors[:, (s.energies >= bar) & (s.energies > 0)] for s, bar in zip(some, bars, strict=True)]
        first = [vectors for vectors, early in zip(bad, early_terms(problem), strict=True) if early]
        d = Q.shape[1]
        return cls(Q @ union(first, d).to(Q), Q @ union(bad, d).to(Q))


def left_of(X: Tensor, cut: Cut) -> Tensor:
    """(k,), what late terms leave of pairs X (n, k) in the end (`projection.orthogonalised`)."""
    return orthogonalised(remove(X, cut.every))[1]


class Checked(NamedTuple):
    """The pairs that are wanted, as far as the span goes, and what is wrong with them.

    Attributes:
        problem: what is asked.
        X: (n, k), eigenvectors of P A P in the span; P is I under late, and of the early terms under mixed.
        values: (k,).
        AX: (n, k).
        following: the next value, below the ratio; 0 where there is none near it.
        left: (k,), what late terms leave of X; 1 under early.
        weak: (n, w), residuals of pairs a little below the ratio, relative to their values.
        cut: P's, in the span.
        wider: the span and one block more.
        next: P's in that.
        some: spectra of the suppressed terms in the span.
        bad: (n, b), residuals of their pairs near or above their threshold, in units of it.
        energies: (b,), of these pairs, in units of it.
        effect: (b,), what such a residual may do to a wanted pair, relative to its eigenvalue.
        rounding: (b,), to which energies are known.
        names: (b,), whose pairs these are.
    """

    problem: Problem
    X: Tensor
    values: Tensor
    AX: Tensor
    following: float
    left: Tensor
    weak: Tensor
    cut: Cut
    wider: Ritz
    next: Cut
    some: list[Spectrum]
    bad: Tensor
    energies: Tensor
    effect: Tensor
    rounding: Tensor
    names: list[str]

    @classmethod
    def of(cls, problem: Problem, ritz: Ritz, R: list[Tensor], exact: Sequence[bool]) -> Checked:
        """Of a span; R and exact as in `Ritz.widened`."""
        Q, some = ritz.Q, spectra(problem, ritz.factors)
        cut = Cut.of(problem, Q, some, [1.0] * len(some))
        A = torch.cat([F * w**0.5 for F, w in zip(ritz.factors, problem.weights, strict=False)])
        result = DenseSVD().solve(Dense(remove(A.T, Q.T @ cut.first).T))
        least = NOTHING * float(torch.linalg.matrix_norm(A, 2)) ** 2 if A.numel() else 0.0
        most = problem.rank if problem.projection == "early" else None
        near = (result.values >= NEAR * problem.activate_ratio * result.values[:1]) & (result.values > least)
        values = result.values[near]
        k = int((values >= problem.activate_ratio * values[:1])[:most].sum())
        following = float(values[k : k + 1].sum())
        Y, values = result.vectors[:, near][:, :most], values[:most]
        X, AX = Q @ Y, ritz.activated(problem) @ Y
        weak = remove(AX[:, k:], cut.first) - X[:, k:] * values[k:]
        weak, X, AX, values = weak / values[k:], X[:, :k], AX[:, :k], values[:k]
        left = torch.ones_like(values) if problem.projection == "early" else left_of(X, cut)
        bad, energies, effect, rounding, names = [Q[:, :0]], [values[:0]], [values[:0]], [values[:0]], []
        terms = zip(some, early_terms(problem), ritz.GQ[len(problem.weights) :], problem.ratios.items(), strict=True)
        for spectrum, early, G, (name, share) in terms:
            near = spectrum.energies >= NEAR
            if not spectrum.threshold:
                continue
            q, energy = spectrum.vectors[:, near], spectrum.energies[near]
            bad.append(G @ q / spectrum.threshold - Q @ q * energy)
            energies.append(energy)
            moves = torch.zeros(q.shape[1], X.shape[1]).to(X)
            if early:
                moves = moves + ((Q @ q).T @ AX).abs() / values
            if problem.projection != "early":
                moves = moves + ((Q @ q).T @ X).abs() / torch.where(left < LEFT, 1.0, left)
            gap = (energy - 1 + GAP).abs().clamp_min(GAP)
            effect.append((moves.amax(1) if X.shape[1] else moves.sum(1)) * bad[-1].norm(dim=0) / gap)
            rounding.append(torch.full_like(energy, ROUNDING / share**0.5))
            names += [name] * len(energy)
        checked = cls(
            problem, X, values, AX, following, left, weak, cut, ritz, cut, some,
            torch.cat(bad, 1), torch.cat(energies), torch.cat(effect), torch.cat(rounding), names,
        )  # fmt: skip
        return checked.looked_ahead(R, exact)

    def looked_ahead(self, R: list[Tensor], exact: Sequence[bool]) -> Checked:
        """With `wider` and `next`."""
        W = torch.cat([self.missing(), self.weak, self.bad], 1)
        wider = self.wider.widened(R, exact, InnerProduct(W[:, :0].T).orthonormal(W, self.wider.Q))
        some = spectra(self.problem, wider.factors)
        return self._replace(wider=wider, next=Cut.of(self.problem, wider.Q, some, [1.0] * len(some)))

    def missing(self) -> Tensor:
        """P A x - value x (n, k)."""
        return remove(self.AX, self.cut.first) - self.X * self.values

    def sizes(self, cut: Cut) -> Tensor:
        """(k,), |P A P x - value x| / value with the P of some cut.

        What late terms leave of x is made as long as x: relative to what is left, and not less than what changes there
        with the cut; 0 where it is dropped. A short rest is a combination of all pairs before it, so that the largest
        error among these counts.
        """
        X, wide = remove(self.X, cut.first), self.wider
        AX = self.AX - wide.activated(self.problem) @ (wide.Q.T @ (self.X - X))
        size = (remove(AX, cut.first) - self.X * self.values).norm(dim=0) / self.values
        if self.problem.projection == "early":
            return size
        size = torch.maximum(size, self.moved(cut)).cummax(0).values / self.left
        return torch.where(self.left < LEFT, 0.0, size)

    def moved(self, cut: Cut) -> Tensor:
        """(k,), how far what late terms leave of X moves with another cut; 0 under early."""
        if self.problem.projection == "early":
            return torch.zeros_like(self.values)
        return (remove(self.X, cut.every) - remove(self.X, self.cut.every)).norm(dim=0)

    def doubtful(self) -> Tensor:
        """(k,), of which pairs it can't be told yet whether late terms leave something, or an error."""
        error = self.errors().cummax(0).values
        return (self.left - 2 * error < LEFT) & (self.left + error > LEFT) & (self.left < LITTLE) & (error > 0)

    def errors(self) -> Tensor:
        """(k,), how far pairs may be from their subspace's true one, or move with one block more; 0 under early."""
        if self.problem.projection == "early":
            return torch.zeros_like(self.values)
        gap = (1 - self.following / self.values).clamp_min(GAP)
        return torch.maximum(self.missing().norm(dim=0) / self.values / gap, self.moved(self.next))

    def bars(self, tolerance: float) -> Tensor:
        """(k,), the sizes that pairs may have: smaller for those that make the first direction, where it is alone."""
        bars = torch.full_like(self.values, tolerance)
        if not len(self.values):
            return bars
        first, alone = self.first()
        values = torch.cat([self.values, self.values.new_tensor([self.following])])
        gaps = 1 - values[1:] / values[:-1]
        gap = float(gaps[max(0, first - 1) : first + 1].min())
        if alone:  # and where the pair that it comes from isn't, as late ones may be, it is treated as if it just were
            bars[: first + 1] *= first_bar(max(gap, ALONE))
        return bars

    def first(self) -> tuple[int, bool]:
        """The pair from which the first direction comes, and whether its energy stands alone."""
        energies, order = self.values, torch.arange(len(self.values))
        if self.problem.projection != "early":
            order = (self.left >= LEFT).nonzero()[:, 0]
            Y = self.wider.Q.T @ orthogonalised(remove(self.X, self.cut.every))[0]
            energies = (Y * (self.wider.Q.T @ self.wider.activated(self.problem) @ Y)).sum(0)
        if not len(energies):
            return 0, False
        most = energies.sort(descending=True).values
        following = float(most[1]) if len(most) > 1 else self.following
        return int(order[energies.argmax()]), bool(following <= (1 - ALONE) * most[0])

    @property
    def residual(self) -> float:
        """The largest size, with the P of the span or of one block more; 1 where nothing is free yet."""
        sizes = [*self.sizes(self.cut).tolist(), *self.sizes(self.next).tolist()]
        return max(sizes, default=1.0)

    def unsure(self) -> Tensor:
        """(b,), which pairs may lie on the other side of their threshold."""
        gap = (self.energies - 1 + GAP).abs().clamp_min(GAP)
        return (self.energies - 1).abs() <= self.bad.square().sum(0) / gap + self.rounding

    def chased(self, tolerance: float) -> Tensor:
        """(n, b), the residuals that have to become smaller."""
        bars, doubtful = self.bars(tolerance), self.doubtful()
        wanted = (self.sizes(self.cut) > bars) | (doubtful.any() & (self.errors() > LEFT / 3))
        size = self.bad.norm(dim=0) / self.energies
        chosen = ((self.energies >= 1) & (size > tolerance)) | (self.effect > SETTLED * tolerance)
        if not wanted.any() and not chosen.any() and (self.sizes(self.next) > bars).any():
            chosen = self.effect >= SETTLED * self.effect.max()
        if doubtful.any():
            chosen |= self.effect > SETTLED * LEFT
        if self.jumps(tolerance):
            chosen |= self.unsure() & (self.bad.square().sum(0) / GAP > self.rounding)
        weak = self.weak[:, self.weak.norm(dim=0) > tolerance]
        return torch.cat([self.missing()[:, wanted], weak, self.bad[:, chosen]], 1)

    def jumps(self, tolerance: float) -> list[str]:
        """Terms of which a pair may lie on the other side of its threshold, where that would matter."""
        unsure = self.unsure()
        names = sorted({name for name, each in zip(self.names, unsure.tolist(), strict=True) if each})
        if not names:
            return []
        far = float((self.energies[unsure] - 1).abs().max()) * (1 + 1e-9)
        for bar in (1 - far, 1 + far):
            bars = [bar if name in names else 1.0 for name in self.problem.ratios]
            Q = self.wider.Q[:, : self.some[0].vectors.shape[0]]
            if (self.sizes(Cut.of(self.problem, Q, self.some, bars)) > tolerance).any():
                return names
        return []

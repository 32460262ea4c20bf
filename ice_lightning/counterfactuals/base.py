"""Counterfactuals: the smallest move within a subspace that changes a classifier's mind, for many people at once.

People are at u (N, n); a basis (`bases`) says where a move t (N, k) takes them. Bases are orthonormal in the population
metric, so that the length of t is an effort in population deviations, which can be compared between subspaces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ice_lightning.checks import is_number, problem
from ice_lightning.counterfactuals.bases import Basis, NamedBasis

Score = Callable[[Tensor], Tensor]
"""Latents (M, n) -> (M,), whose sign is the decision; differentiable, each row on its own."""


class Counterfactuals(NamedTuple):
    """What a search found.

    Attributes:
        t: (N, k) the smallest move found that flips, else the one that came closest.
        before: (N,) score of the original.
        after: (N,) score at t.
        flipped: (N,) bool: whether the decision changed, by at least the margin.
        evaluations: (N,) how often each person's image was made, a first look that searches share among them.
    """

    t: Tensor
    before: Tensor
    after: Tensor
    flipped: Tensor
    evaluations: Tensor


class CounterfactualMethod(Protocol):
    """A way to search."""

    @property
    def bound(self) -> float | None:
        """How far people may be moved, in population deviations; None where the method's own rule says."""

    def __call__(self, score: Score, u: Tensor, basis: NamedBasis) -> Counterfactuals:
        """Search for people u (N, n) within a basis of k directions."""


class SearchState:
    """Where people are on the way, and the best move that was found for each.

    Scores are signed here: positive while the decision is the original one.

    Args:
        score: latents -> score.
        u: (N, n).
        basis: of k coordinates, where they may go.
        margin: by how much the score has to change sides.

    Attributes:
        before: (N,) score of the original, as it is.
        sign: (N,) by which a score is multiplied.
        first: (N, k) gradient of the signed score at the original.
        best: (N, k) the smallest move that flips, else the one that came closest.
        after: (N,) score there, as it is.
        flipped: (N,) bool.
        slope: (N, k) gradient of the signed score at the best move.
        steep: (N,) bool: whether that is known.
        evaluations: (N,) how often each person's image was made.
    """

    def __init__(self, score: Score, u: Tensor, basis: Basis, margin: float) -> None:
        self.score, self.u, self.basis, self.margin = score, u, basis, margin
        self.evaluations = torch.zeros(len(u), dtype=torch.long, device=u.device)
        self.best = u.new_zeros(len(u), basis.dim)
        everyone = torch.arange(len(u), device=u.device)
        self.before, g = self.raw(self.best, everyone, gradient=True)
        self.sign = torch.where(self.before >= 0, 1.0, -1.0).to(self.before)
        self.first = g * self.sign[:, None]
        self.slope, self.steep = self.first.clone(), torch.ones(len(u), dtype=torch.bool, device=u.device)
        self.after = self.before.clone()
        self.flipped = torch.zeros(len(u), dtype=torch.bool, device=u.device)

    def raw(self, t: Tensor, rows: Tensor, gradient: bool) -> tuple[Tensor, Tensor]:
        """Scores (M,) of some people at t (M, k) as they are, and with `gradient` their gradients (M, k)."""
        t = t.detach().requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            raw = self.score(self.basis.of(rows).displace(self.u[rows], t))
            g = torch.autograd.grad(raw.sum(), t)[0] if gradient else torch.zeros_like(t)
        self.evaluations[rows] += 1
        return raw.detach(), g.nan_to_num(0, 0, 0)  # without a slope nobody moves on from a broken score

    def at(self, t: Tensor, rows: Tensor, gradient: bool = False) -> tuple[Tensor, Tensor]:
        """Signed scores (M,) of some people at t (M, k), and with `gradient` their gradients (M, k); keeps the best."""
        raw, g = self.raw(t, rows, gradient)
        g = g * self.sign[rows, None]
        self.keep(t.detach(), raw, g, gradient, rows)
        return self.signed(raw, rows), g

    def signed(self, raw: Tensor, rows: Tensor) -> Tensor:
        """Raw scores of some people, positive while the decision is the original one, as is one that isn't finite."""
        return torch.where(raw.isfinite(), raw * self.sign[rows], torch.inf)

    def flips(self, signed: Tensor) -> Tensor:
        """Whether signed scores are on the other side, by the margin; 0 itself is on neither."""
        return (signed <= -self.margin) & (signed < 0)

    def slopes(self, rows: Tensor) -> Tensor:
        """Gradients (M, k) of some people's signed scores at their best; known where the best came with one."""
        unknown = ~self.steep[rows]
        if unknown.any():
            self.slope[rows[unknown]] = self.at(self.best[rows[unknown]], rows[unknown], gradient=True)[1]
            self.steep[rows] = True
        return self.slope[rows]

    def keep(self, t: Tensor, raw: Tensor, g: Tensor, steep: bool, rows: Tensor) -> None:
        """Take t (M, k) where it flips and is smaller than what did before; until then, where it comes closer.

        With it goes the gradient g of the signed score, if there is one (`steep`).
        """
        signed = self.signed(raw, rows)
        flips, shorter = self.flips(signed), t.norm(dim=1) < self.best[rows].norm(dim=1)
        closer = signed < self.after[rows] * self.sign[rows]
        better = torch.where(self.flipped[rows], flips & shorter, flips | closer)
        taken = rows[better]
        self.best[taken], self.after[taken] = t[better], raw[better]
        self.slope[taken], self.steep[taken] = g[better], steep
        self.flipped[taken] |= flips[better]

    def bisect(self, steps: int) -> None:
        """Walk from everyone's flip straight back towards the original, to the boundary, by bisection.

        A step aims at the boundary, so that most flips lie just behind it: one that is lost by going back a twentieth
        stays where it is.
        """
        rows = self.flipped.nonzero()[:, 0]
        whole = self.best[rows]
        low, high = torch.zeros_like(whole[:, 0]), torch.ones_like(whole[:, 0])
        for step in range(steps + 1 if len(rows) else 0):
            middle = 0.95 * high if step == 0 else (low + high) / 2
            signed, _ = self.at(middle[:, None] * whole, rows)
            flips = self.flips(signed)
            low, high = torch.where(flips, low, middle), torch.where(flips, middle, high)
            if step == 0:
                rows, whole, low, high = rows[flips], whole[flips], low[flips], high[flips]
                if not len(rows):
                    return

    def offer(self, t: Tensor, raw: Tensor, flipped: Tensor) -> None:
        """Take flips at t (N, k) that are known, with scores raw (N,), where they are shorter or the only ones."""
        better = flipped & (~self.flipped | (t.norm(dim=1) < self.best.norm(dim=1)))
        self.best[better], self.after[better] = t[better], raw[better]
        self.steep[better] = False
        self.flipped |= better

    def counterfactuals(self) -> Counterfactuals:
        """What the search found."""
        return Counterfactuals(self.best, self.before, self.after, self.flipped, self.evaluations)


def decision_changed(before: Tensor, after: Tensor, margin: float) -> Tensor:
    """Whether scores are on the other side, by a margin; 0 itself is on neither.

    Args:
        before: (N,), of the original.
        after: (N,).
        margin: 0 or more.

    Returns:
        (N,) bool.

    Example:
        >>> decision_changed(torch.tensor([1.0, 1.0, -1.0]), torch.tensor([-0.5, torch.nan, 0.1]), margin=0.2).tolist()
        [True, False, False]
    """
    signed = torch.where(before >= 0, after, -after)
    return signed.isfinite() & (signed <= -margin) & (signed < 0)


def check(bound: float | None, margin: float) -> None:
    """Refuse a ball without room, or a margin below 0.

    Args:
        bound: in population deviations, above 0; None for no limit of one's own.
        margin: in units of the score, 0 or more.

    Raises:
        IceError: for either.

    Example:
        >>> check(None, 0.1)
    """
    if bound is not None and not (is_number(bound) and bound > 0):
        fix = "null is usual: where 99.7 % of the population lie"
        raise problem("counterfactual.bound above 0, in population deviations", bound, fix)
    if not (is_number(margin) and margin >= 0):
        raise problem("counterfactual.margin of at least 0, in units of the score", margin, "0.1 is usual for logits")

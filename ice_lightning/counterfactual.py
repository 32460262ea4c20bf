"""Counterfactuals: the smallest move within a subspace that changes a classifier's mind, for many people at once.

People are at u (N, n); a basis (`bases`) says where a move t (N, k) takes them. Bases are orthonormal in the population
metric, so that the length of t is an effort in population deviations, which can be compared between subspaces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ice_lightning.bases import Basis, Columns, reach
from ice_lightning.checks import at_least, problem
from ice_lightning.population import radius

Score = Callable[[Tensor], Tensor]
"""Latents (M, n) -> (M,), whose sign is the decision; differentiable, each row on its own."""


class Moves(NamedTuple):
    """What a search found.

    Attributes:
        t: (N, k) the smallest move found that flips, else the one that came closest.
        before: (N,) score of the original.
        after: (N,) score at t.
        flipped: (N,) bool: whether the decision changed, by at least the margin.
        evaluations: (N,) how often each person's image was made.
    """

    t: Tensor
    before: Tensor
    after: Tensor
    flipped: Tensor
    evaluations: Tensor


class Method(Protocol):
    """A way to search."""

    def __call__(self, score: Score, u: Tensor, basis: Columns) -> Moves:
        """Search for people u (N, n) within a basis of k directions."""


def smallest_step(g: Tensor, drop: Tensor, bound: float, start: Tensor | None = None) -> Tensor:
    """The smallest step s from `start` in the ball |start + s| <= bound with g . s <= -drop, (N, k).

    Where the ball doesn't reach that plane, the step to the point of the ball where g . s is least. Else the nearest
    point of the plane, or where that lies outside, the nearest point of the disc in which the plane cuts the ball.

    Args:
        g: (N, k).
        drop: (N,).
        bound: above 0.
        start: (N, k) within the ball; 0 where it is left out.
    """
    t = torch.zeros_like(g) if start is None else start
    steep = g.double()  # a norm of small single-precision numbers underflows, and its vector would not be of length 1
    size = steep.norm(dim=1, keepdim=True).clamp_min(1e-290)
    down, size = (-steep / size).to(g), size.to(g).clamp_min(1e-30)
    level = (t * down).sum(1, keepdim=True) + drop[:, None].clamp_min(0) / size  # down . (t + s) has to reach this
    farthest = bound * down
    centre = level * down
    foot = t + down * (level - (t * down).sum(1, keepdim=True))
    room = (bound**2 - level.square()).clamp_min(0).sqrt()
    aside = foot - centre
    inside = (room / aside.norm(dim=1, keepdim=True).clamp_min(1e-30)).clamp(max=1)
    return torch.where(level > bound, farthest, centre + aside * inside) - t


class Tried:
    """Signed scores of people on the way: positive while the decision is the original one."""

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
            raw = self.score(self.basis.displace(self.u[rows], t))
            g = torch.autograd.grad(raw.sum(), t)[0] if gradient else torch.zeros_like(t)
        self.evaluations[rows] += 1
        return raw.detach(), g.nan_to_num(0, 0, 0)  # whose score breaks down on the way stays where it did

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

    def back(self, halvings: int) -> None:
        """Walk from everyone's flip straight back towards the original, to the boundary, by bisection.

        Who lies less than a twentieth behind it already, as most do after a step that aimed at it, stays.
        """
        rows = self.flipped.nonzero()[:, 0]
        whole = self.best[rows]
        low, high = torch.zeros_like(whole[:, 0]), torch.ones_like(whole[:, 0])
        for halving in range(halvings + 1 if len(rows) else 0):
            middle = 0.95 * high if halving == 0 else (low + high) / 2
            signed, _ = self.at(middle[:, None] * whole, rows)
            flips = self.flips(signed)
            low, high = torch.where(flips, low, middle), torch.where(flips, middle, high)
            if halving == 0:
                rows, whole, low, high = rows[flips], whole[flips], low[flips], high[flips]
                if not len(rows):
                    return

    def offer(self, t: Tensor, raw: Tensor, flipped: Tensor) -> None:
        """Take flips at t (N, k) that are known, with scores raw (N,), where they are shorter or the only ones."""
        better = flipped & (~self.flipped | (t.norm(dim=1) < self.best.norm(dim=1)))
        self.best[better], self.after[better] = t[better], raw[better]
        self.steep[better] = False
        self.flipped |= better

    def moves(self) -> Moves:
        """What came of it."""
        return Moves(self.best, self.before, self.after, self.flipped, self.evaluations)


def check(bound: float | None, margin: float) -> None:
    """Refuse a ball without room, or a margin below 0."""
    if bound is not None and not bound > 0:
        fix = "null is usual: where 99.7 % of the population lie"
        raise problem("method.bound above 0, in population deviations", bound, fix)
    if not margin >= 0:
        raise problem("method.margin of at least 0, in units of the score", margin, "0.1 is usual for logits")


PATIENCE = 2
"""Steps in a row, each less than a fiftieth of the way down, after which someone counts as out of reach."""


@dataclass(frozen=True)
class Gradient:
    """Newton steps down to the boundary, back along the straight line to it, and from there shorter moves.

    The steps are those of DeepFool (Moosavi-Dezfooli et al. 2016, algorithm 1) in a ball and a trust region: the
    smallest that would reach the boundary if the score were linear. A shorter move is the smallest in the ball on the
    boundary as it looks from the last one.

    Attributes:
        bound: nobody moves further, in population deviations; None for the ball of `population.radius`.
        margin: by how much the score has to change sides.
        steps: gradients at most on the way to the boundary.
        halvings: of the way back.
        improve: how often a shorter move is looked for.
    """

    bound: float | None = None
    margin: float = 0.1
    steps: int = 16
    halvings: int = 4
    improve: int = 1

    def __post_init__(self) -> None:
        """Refuse settings that allow no search."""
        check(self.bound, self.margin)
        at_least("method.steps", self.steps, 1)

    def __call__(self, score: Score, u: Tensor, basis: Basis, known: Moves | None = None) -> Moves:
        """Search for people u (N, n) within a basis.

        Args:
            score: latents -> signed score.
            u: (N, n).
            basis: where they may go.
            known: moves in coordinates of the basis: no flip among them is missed, and none that is found is longer.
        """
        tried, bound = Tried(score, u, basis, self.margin), reach(basis, self.bound)
        self.descend(tried, bound)
        if known is not None:
            tried.offer(known.t, known.after, known.flipped)
        tried.back(self.halvings)
        for _ in range(self.improve):
            self.shorten(tried, bound)
            tried.back(self.halvings // 2)
        return tried.moves()

    def aim(self, signed: Tensor) -> Tensor:
        """By how much a score (M,) should fall: to just beyond the margin, or the last step would stop short of it."""
        return signed + 1.1 * self.margin + 1e-3

    def descend(self, tried: Tried, bound: float) -> None:
        """Step until everyone has flipped, or gets no further."""
        rows = torch.arange(len(tried.u), device=tried.u.device)
        t, signed, g = torch.zeros_like(tried.best), tried.before * tried.sign, tried.first
        trust, vain = torch.full_like(signed, bound), torch.zeros_like(rows)
        for _ in range(self.steps):
            step = smallest_step(g, self.aim(signed), bound, t)
            falls = -(g * step).sum(1) > 1e-3 * self.aim(signed)  # else it stands at the best place of the ball
            going = ~tried.flipped[rows] & (vain < PATIENCE) & falls
            rows, t, signed, g, trust, vain, step = (p[going] for p in (rows, t, signed, g, trust, vain, step))
            if not len(rows):
                return
            length = step.norm(dim=1)
            step = step * (trust / length).clamp(max=1)[:, None]
            ahead, g_ahead = tried.at(t + step, rows, gradient=True)
            # How much of the promised fall came decides how far the next step may trust the gradient.
            kept = (signed - ahead) / -(g * step).sum(1).clamp(max=-1e-12)
            trust = torch.where(kept > 0.5, 2 * trust, torch.where(kept < 0.2, torch.minimum(trust, length) / 3, trust))
            vain = torch.where(signed - ahead < 0.02 * self.aim(signed), vain + 1, 0)
            taken = ahead < signed
            t = torch.where(taken[:, None], t + step, t)
            signed, g = torch.where(taken, ahead, signed), torch.where(taken[:, None], g_ahead, g)

    def shorten(self, tried: Tried, bound: float) -> None:
        """Look for a smaller move on the boundary as it looks from the best one, all of the way and then half of it."""
        rows = tried.flipped.nonzero()[:, 0]
        if not len(rows):
            return
        t, signed, g = tried.best[rows], tried.after[rows] * tried.sign[rows], tried.slopes(rows)
        there = smallest_step(g, self.aim(signed) - (g * t).sum(1), bound)
        for part in (1.0, 0.5):
            before = tried.best[rows].norm(dim=1)
            tried.at(t + part * (there - t), rows)
            left = tried.best[rows].norm(dim=1) == before
            rows, t, there = rows[left], t[left], there[left]
            if not len(rows):
                return


@dataclass(frozen=True)
class Line:
    """The single direction that flips with the smallest move, by bisection.

    Attributes:
        bound: how far, in population deviations; None for the ball of one dimension.
        margin: by how much the score has to change sides.
        halvings: of each bracket.
    """

    bound: float | None = None
    margin: float = 0.1
    halvings: int = 7

    def __post_init__(self) -> None:
        """Refuse settings that allow no search."""
        check(self.bound, self.margin)
        at_least("method.halvings", self.halvings, 1)

    def __call__(self, score: Score, u: Tensor, basis: Columns) -> Moves:
        """Search for people u (N, n) within a basis; a direction is searched on the side to which the score falls."""
        tried = Tried(score, u, basis, self.margin)
        everyone = torch.arange(len(u), device=u.device)
        axes = basis.directions.to(u)
        for axis in (axes / axes.norm(dim=0)).T:
            rows, side = everyone, -torch.sign(tried.first @ axis)
            low, high = torch.zeros_like(side), torch.full_like(side, radius(1) if self.bound is None else self.bound)
            # Shorter than the best so far, or not at all.
            high = torch.where(tried.flipped, tried.best.norm(dim=1), high)
            for halving in range(self.halvings):
                at = high if halving == 0 else (low + high) / 2
                flips = tried.flips(tried.at((at * side)[:, None] * axis, rows)[0])
                if halving == 0:
                    rows, side, low, high = rows[flips], side[flips], low[flips], high[flips]
                else:
                    low, high = torch.where(flips, low, at), torch.where(flips, at, high)
                if not len(rows):
                    break
        return tried.moves()


@dataclass(frozen=True)
class Paper:
    """A fixed number of steps of gradient descent on the score (Li et al. 2022, released notebook), in latent units.

    Attributes:
        steps: images that are made, 10 to 50 there; the last one counts, which is after one move fewer.
        margin: by how much the score has to change sides.
        lr: step size.
        momentum: of the steps, below 1.
        weight_decay: towards the original.
    """

    steps: int = 20
    margin: float = 0.0
    lr: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse settings that allow no search."""
        check(None, self.margin)
        at_least("method.steps", self.steps, 2)
        if not self.lr > 0:
            raise problem("method.lr above 0, in units of the latent", self.lr, "1 is usual")
        if not 0 <= self.momentum < 1:
            raise problem("method.momentum of at least 0 and below 1", self.momentum, "0.9 is usual")
        if not self.weight_decay >= 0:
            raise problem("method.weight_decay of at least 0", self.weight_decay, "0.001 is usual")

    def __call__(self, score: Score, u: Tensor, basis: Columns) -> Moves:
        """Search for people u (N, n) within a basis; the last image counts, whatever came before."""
        tried, directions = Tried(score, u, basis, self.margin), basis.directions.to(u)
        rows = torch.arange(len(u), device=u.device)
        c, velocity = torch.zeros_like(tried.best), torch.zeros_like(tried.best)
        for step in range(self.steps - 1):
            g = tried.at(c @ directions.T, rows, gradient=True)[1] if step else tried.first
            velocity = self.momentum * velocity + g @ directions + self.weight_decay * c
            c = c - self.lr * velocity
        t = c @ directions.T
        with torch.no_grad():
            after = score(basis.displace(u, t))
        return Moves(t, tried.before, after, tried.flips(after * tried.sign), tried.evaluations + 1)

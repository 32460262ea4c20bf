"""Counterfactuals: the smallest move along some directions that changes a classifier's mind, for many people at once.

Everything is in units of spread: people are at u (N, n), `spread` says where they may go, and a move t (N, k) takes
them to u + spread t. Its columns are directions times the standard deviation of the population along each, so that the
norm of t is an effort that can be compared between subspaces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ice_lightning.checks import at_least, problem

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

    def __call__(self, score: Score, u: Tensor, spread: Tensor) -> Moves:
        """Search for people u (N, n) within `spread`, see `moved`."""


def moved(u: Tensor, spread: Tensor, t: Tensor) -> Tensor:
    """u + spread t, (N, n).

    Args:
        u: (N, n).
        spread: (n, k) for everyone, (N, n, k) with a basis for each, or (n,) where every coordinate moves by itself.
        t: (N, k).
    """
    if spread.ndim == 1:
        return u + t * spread
    return u + (t @ spread.T if spread.ndim == 2 else torch.einsum("nik,nk->ni", spread, t))


def only(spread: Tensor, rows: Tensor) -> Tensor:
    """The spread of some people."""
    return spread[rows] if spread.ndim == 3 else spread


def smallest_step(g: Tensor, drop: Tensor, bound: float, start: Tensor | None = None) -> Tensor:
    """The smallest step s from `start` in the box |t_j| <= bound with g . s <= -drop, or to the corner; (N, k).

    Minimal norm under one linear constraint and a box is clamp(-a g) for some a >= 0 (the conditions of Karush, Kuhn
    and Tucker). The fall of g . s is piecewise linear in a, with a corner where each coordinate reaches the box: a lies
    behind the last corner that falls short.

    Args:
        g: (N, k).
        drop: (N,).
        bound: above 0.
        start: (N, k) within the box; 0 where it is left out.
    """
    size = g.abs().clamp_min(1e-30)
    room = bound + (0 if start is None else start) * g.sign() + torch.zeros_like(g)
    corners, order = (room / size).sort(1)
    size_there, room_there = size.gather(1, order), room.gather(1, order)
    full = (room_there * size_there).cumsum(1)  # what the coordinates at the box give
    squares = size_there.square()
    slope = squares.flip(1).cumsum(1).flip(1)  # of those from here on, this one among them
    short = (full + corners * (slope - squares) < drop[:, None]).sum(1, keepdim=True)
    last = short.clamp(max=g.shape[1] - 1)
    before = full.gather(1, last) - (room_there * size_there).gather(1, last)
    a = ((drop[:, None] - before) / slope.gather(1, last)).clamp_min(0)
    return -g.sign() * torch.minimum(a * size, room)


class Tried:
    """Signed scores of people on the way: positive while the decision is the original one."""

    def __init__(self, score: Score, u: Tensor, spread: Tensor, margin: float) -> None:
        self.score, self.u, self.spread, self.margin = score, u, spread, margin
        k = len(spread) if spread.ndim == 1 else spread.shape[-1]
        self.evaluations = torch.zeros(len(u), dtype=torch.long, device=u.device)
        self.best = u.new_zeros(len(u), k)
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
            raw = self.score(moved(self.u[rows], only(self.spread, rows), t))
            g = torch.autograd.grad(raw.sum(), t)[0] if gradient else torch.zeros_like(t)
        self.evaluations[rows] += 1
        return raw.detach(), g.nan_to_num(0, 0, 0)  # whose score breaks down on the way stays where it did

    def at(self, t: Tensor, rows: Tensor, gradient: bool = False) -> tuple[Tensor, Tensor]:
        """Signed scores (M,) of some people at t (M, k), and with `gradient` their gradients (M, k); keeps the best."""
        raw, g = self.raw(t, rows, gradient)
        g = g * self.sign[rows, None]
        self.keep(t.detach(), raw, g, gradient, rows)
        return raw * self.sign[rows], g

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
        signed = raw * self.sign[rows]
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

    def moves(self) -> Moves:
        """What came of it."""
        return Moves(self.best, self.before, self.after, self.flipped, self.evaluations)


def check(bound: float, margin: float) -> None:
    """Refuse a box without room, or a margin below 0."""
    if not bound > 0:
        raise problem("method.bound above 0, in standard deviations", bound, "3 is usual")
    if not margin >= 0:
        raise problem("method.margin of at least 0, in units of the score", margin, "0.1 is usual for logits")


PATIENCE = 2
"""Steps in a row, each less than a fiftieth of the way down, after which someone counts as out of reach."""


@dataclass(frozen=True)
class Gradient:
    """Newton steps down to the boundary, back along the straight line to it, and from there shorter moves.

    The steps are those of DeepFool (Moosavi-Dezfooli et al. 2016, algorithm 1) in a box and a trust region: the
    smallest that would reach the boundary if the score were linear. A shorter move is the smallest in the box on the
    boundary as it looks from the last one.

    Attributes:
        bound: no coordinate moves further, in standard deviations of the population.
        margin: by how much the score has to change sides.
        steps: gradients at most on the way to the boundary.
        halvings: of the way back.
        improve: how often a shorter move is looked for.
    """

    bound: float = 3.0
    margin: float = 0.1
    steps: int = 16
    halvings: int = 4
    improve: int = 1

    def __post_init__(self) -> None:
        """Refuse settings that allow no search."""
        check(self.bound, self.margin)
        at_least("method.steps", self.steps, 1)

    def __call__(self, score: Score, u: Tensor, spread: Tensor) -> Moves:
        """See Method."""
        tried = Tried(score, u, spread, self.margin)
        self.descend(tried)
        tried.back(self.halvings)
        for _ in range(self.improve):
            self.shorten(tried)
            tried.back(self.halvings // 2)
        return tried.moves()

    def aim(self, signed: Tensor) -> Tensor:
        """By how much a score (M,) should fall: to just beyond the margin, or the last step would stop short of it."""
        return signed + 1.1 * self.margin + 1e-3

    def descend(self, tried: Tried) -> None:
        """Step until everyone has flipped, or gets no further."""
        rows = torch.arange(len(tried.u), device=tried.u.device)
        t, signed, g = torch.zeros_like(tried.best), tried.before * tried.sign, tried.first
        radius, vain = torch.full_like(signed, self.bound), torch.zeros_like(rows)
        for _ in range(self.steps):
            step = smallest_step(g, self.aim(signed), self.bound, t)
            moves = step.norm(dim=1) > 1e-3 * self.bound  # else it stands in the best corner of the box
            going = ~tried.flipped[rows] & (vain < PATIENCE) & moves
            rows, t, signed, g, radius, vain, step = (p[going] for p in (rows, t, signed, g, radius, vain, step))
            if not len(rows):
                return
            length = step.norm(dim=1)
            step = step * (radius / length).clamp(max=1)[:, None]
            ahead, g_ahead = tried.at(t + step, rows, gradient=True)
            # How much of the promised fall came decides how far the next step may trust the gradient.
            kept = (signed - ahead) / -(g * step).sum(1).clamp(max=-1e-12)
            radius = torch.where(
                kept > 0.5, 2 * radius, torch.where(kept < 0.2, torch.minimum(radius, length) / 3, radius)
            )
            vain = torch.where(signed - ahead < 0.02 * self.aim(signed), vain + 1, 0)
            taken = ahead < signed
            t = torch.where(taken[:, None], t + step, t)
            signed, g = torch.where(taken, ahead, signed), torch.where(taken[:, None], g_ahead, g)

    def shorten(self, tried: Tried) -> None:
        """Look for a smaller move on the boundary as it looks from the best one, all of the way and then half of it."""
        rows = tried.flipped.nonzero()[:, 0]
        if not len(rows):
            return
        t, signed, g = tried.best[rows], tried.after[rows] * tried.sign[rows], tried.slopes(rows)
        there = smallest_step(g, self.aim(signed) - (g * t).sum(1), self.bound)
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
        bound: how far, in standard deviations of the population.
        margin: by how much the score has to change sides.
        halvings: of each bracket.
    """

    bound: float = 3.0
    margin: float = 0.1
    halvings: int = 7

    def __post_init__(self) -> None:
        """Refuse settings that allow no search."""
        check(self.bound, self.margin)
        at_least("method.halvings", self.halvings, 1)

    def __call__(self, score: Score, u: Tensor, spread: Tensor) -> Moves:
        """See Method; a direction is searched on the side to which the score falls."""
        tried = Tried(score, u, spread, self.margin)
        everyone = torch.arange(len(u), device=u.device)
        for j in range(tried.best.shape[1]):
            rows, side = everyone, -torch.sign(tried.first[:, j])
            low, high = torch.zeros_like(side), torch.full_like(side, self.bound)
            # Shorter than the best so far, or not at all.
            high = torch.where(tried.flipped, tried.best.norm(dim=1), high)
            for halving in range(self.halvings):
                at = high if halving == 0 else (low + high) / 2
                t = torch.zeros_like(tried.best[rows])
                t[:, j] = at * side
                flips = tried.flips(tried.at(t, rows)[0])
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
        check(float("inf"), self.margin)  # there is no box
        at_least("method.steps", self.steps, 2)
        if not self.lr > 0:
            raise problem("method.lr above 0, in units of the latent", self.lr, "1 is usual")
        if not 0 <= self.momentum < 1:
            raise problem("method.momentum of at least 0 and below 1", self.momentum, "0.9 is usual")
        if not self.weight_decay >= 0:
            raise problem("method.weight_decay of at least 0", self.weight_decay, "0.001 is usual")

    def __call__(self, score: Score, u: Tensor, spread: Tensor) -> Moves:
        """See Method; the last image counts, whatever came before."""
        tried = Tried(score, u, spread, self.margin)
        rows, lengths = torch.arange(len(u), device=u.device), spread if spread.ndim == 1 else spread.norm(dim=-2)
        t, velocity = torch.zeros_like(tried.best), torch.zeros_like(tried.best)
        for step in range(self.steps - 1):
            g = tried.at(t, rows, gradient=True)[1] if step else tried.first
            velocity = self.momentum * velocity + g / lengths + self.weight_decay * t * lengths
            t = t - self.lr * velocity / lengths
        with torch.no_grad():
            after = score(moved(u, spread, t))
        return Moves(t, tried.before, after, tried.flips(after * tried.sign), tried.evaluations + 1)

"""Newton steps down to the boundary in a ball, and from there shorter moves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ice_lightning.checks import at_least
from ice_lightning.counterfactuals.base import Counterfactuals, Score, SearchState, check
from ice_lightning.counterfactuals.bases import Basis, reach

PATIENCE = 2
"""Steps in a row, each less than a fiftieth of the way down, after which the boundary counts as out of reach."""


def smallest_step(g: Tensor, drop: Tensor, bound: float, start: Tensor | None = None) -> Tensor:
    """The smallest step s from `start` in the ball |start + s| <= bound with g . s <= -drop.

    Where the ball doesn't reach that plane, the step to the point of the ball where g . s is least. Else the nearest
    point of the plane, or where that lies outside, the nearest point of the disc in which the plane cuts the ball.

    Args:
        g: (N, k).
        drop: (N,).
        bound: above 0.
        start: (N, k) within the ball; 0 where it is left out.

    Returns:
        (N, k).

    Example:
        >>> smallest_step(torch.tensor([[3.0, 4.0]]), torch.tensor([5.0]), bound=2.0).round(decimals=4)
        tensor([[-0.6000, -0.8000]])
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

    Example:
        >>> from ice_lightning.counterfactuals.bases import Columns
        >>> plane = Columns(torch.eye(2), torch.eye(2))
        >>> found = Gradient(bound=5.0)(lambda u: 10 - u @ torch.tensor([3.0, 4.0]), torch.zeros(1, 2), plane)
        >>> found.flipped, found.t.round(decimals=1)  # the nearest point of the line 3 x + 4 y = 10
        (tensor([True]), tensor([[1.2000, 1.6000]]))
    """

    bound: float | None = None
    margin: float = 0.1
    steps: int = 16
    halvings: int = 4
    improve: int = 1

    def __post_init__(self) -> None:
        """Refuse settings that allow no search."""
        check(self.bound, self.margin)
        at_least("counterfactual.steps", self.steps, 1)
        at_least("counterfactual.halvings", self.halvings, 0)
        at_least("counterfactual.improve", self.improve, 0)

    def __call__(self, score: Score, u: Tensor, basis: Basis, known: Counterfactuals | None = None) -> Counterfactuals:
        """Search for people u (N, n) within a basis.

        Args:
            score: latents -> score, whose sign is the decision.
            u: (N, n).
            basis: where they may go.
            known: moves in coordinates of the basis: no flip among them is missed, and none that is found is longer.
        """
        state, bound = SearchState(score, u, basis, self.margin), reach(basis, self.bound)
        self.descend(state, bound)
        if known is not None:
            state.offer(known.t, known.after, known.flipped)
        state.bisect(self.halvings)
        for _ in range(self.improve):
            self.shorten(state, bound)
            state.bisect(self.halvings // 2)
        return state.counterfactuals()

    def aim(self, signed: Tensor) -> Tensor:
        """By how much a score (M,) should fall: to just beyond the margin, or the last step would stop short of it."""
        return signed + 1.1 * self.margin + 1e-3

    def descend(self, state: SearchState, bound: float) -> None:
        """Step until everyone has flipped, or gets no further."""
        rows = torch.arange(len(state.u), device=state.u.device)
        t, signed, g = torch.zeros_like(state.best), state.before * state.sign, state.first
        trust, stalled = torch.full_like(signed, bound), torch.zeros_like(rows)
        for _ in range(self.steps):
            step = smallest_step(g, self.aim(signed), bound, t)
            # Where it stands at the best place of the ball a step is short, and promises nothing.
            moves = (step.norm(dim=1) > 1e-3 * bound) | (-(g * step).sum(1) > 1e-3 * self.aim(signed))
            going = ~state.flipped[rows] & (stalled < PATIENCE) & moves
            rows, t, signed, g, trust, stalled, step = (p[going] for p in (rows, t, signed, g, trust, stalled, step))
            if not len(rows):
                return
            length = step.norm(dim=1)
            step = step * (trust / length).clamp(max=1)[:, None]
            ahead, g_ahead = state.at(t + step, rows, gradient=True)
            # The share of the promised fall that came says how far the next step may trust the gradient, after
            # Nocedal & Wright 2006, algorithm 4.1, where 1/4 and 3/4 stand in place of 0.2 and 0.5.
            kept = (signed - ahead) / -(g * step).sum(1).clamp(max=-1e-12)
            trust = torch.where(kept > 0.5, 2 * trust, torch.where(kept < 0.2, torch.minimum(trust, length) / 3, trust))
            stalled = torch.where(signed - ahead < 0.02 * self.aim(signed), stalled + 1, 0)
            taken = ahead < signed
            t = torch.where(taken[:, None], t + step, t)
            signed, g = torch.where(taken, ahead, signed), torch.where(taken[:, None], g_ahead, g)

    def shorten(self, state: SearchState, bound: float) -> None:
        """Look for a smaller move on the boundary as it looks from the best one, all of the way and then half of it."""
        rows = state.flipped.nonzero()[:, 0]
        if not len(rows):
            return
        t, signed, g = state.best[rows], state.after[rows] * state.sign[rows], state.slopes(rows)
        there = smallest_step(g, self.aim(signed) - (g * t).sum(1), bound)
        for part in (1.0, 0.5):
            before = state.best[rows].norm(dim=1)
            state.at(t + part * (there - t), rows)
            left = state.best[rows].norm(dim=1) == before
            rows, t, there = rows[left], t[left], there[left]
            if not len(rows):
                return

"""The single direction that flips with the smallest move."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ice_lightning.checks import at_least
from ice_lightning.counterfactuals.base import Counterfactuals, Score, SearchState, check
from ice_lightning.counterfactuals.bases import NamedBasis
from ice_lightning.population import radius


@dataclass(frozen=True)
class Line:
    """The single direction that flips with the smallest move, by bisection.

    Attributes:
        bound: how far, in population deviations; None for the ball of one dimension.
        margin: by how much the score has to change sides.
        halvings: of each bracket.

    Example:
        >>> from ice_lightning.counterfactuals.bases import Columns
        >>> plane = Columns(torch.eye(2), torch.eye(2))
        >>> found = Line(bound=5.0, halvings=12)(lambda u: 10 - u @ torch.tensor([3.0, 4.0]), torch.zeros(1, 2), plane)
        >>> found.flipped, found.t.round(decimals=1)  # along y, since 10 / 4 is less than 10 / 3
        (tensor([True]), tensor([[0.0000, 2.5000]]))
    """

    bound: float | None = None
    margin: float = 0.1
    halvings: int = 7

    def __post_init__(self) -> None:
        """Refuse settings that allow no search."""
        check(self.bound, self.margin)
        at_least("counterfactual.halvings", self.halvings, 1)

    def __call__(self, score: Score, u: Tensor, basis: NamedBasis) -> Counterfactuals:
        """Search for people u (N, n) within a basis; a direction is searched on the side to which the score falls."""
        state = SearchState(score, u, basis, self.margin)
        everyone = torch.arange(len(u), device=u.device)
        for axis in basis.axes(u):
            rows, side = everyone, -torch.sign((state.first * axis).sum(1))
            low, high = torch.zeros_like(side), torch.full_like(side, radius(1) if self.bound is None else self.bound)
            # Shorter than the best so far, or not at all.
            high = torch.where(state.flipped, state.best.norm(dim=1), high)
            for step in range(self.halvings):
                at = high if step == 0 else (low + high) / 2
                flips = state.flips(state.at((at * side)[:, None] * axis[rows], rows)[0])
                if step == 0:
                    rows, side, low, high = rows[flips], side[flips], low[flips], high[flips]
                else:
                    low, high = torch.where(flips, low, at), torch.where(flips, at, high)
                if not len(rows):
                    break
        return state.counterfactuals()

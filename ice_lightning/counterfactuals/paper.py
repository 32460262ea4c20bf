"""The published search: a fixed number of steps of gradient descent (Li et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ice_lightning.checks import at_least, is_number, problem
from ice_lightning.counterfactuals.base import Counterfactuals, Score, SearchState, check
from ice_lightning.counterfactuals.bases import NamedBasis


@dataclass(frozen=True)
class Paper:
    """A fixed number of steps of gradient descent on the score (Li et al. 2022, released notebook), in latent units.

    Attributes:
        steps: images that are made, 10 to 50 there; the last one counts, which is after one move fewer.
        margin: by how much the score has to change sides.
        lr: step size.
        momentum: of the steps, below 1.
        weight_decay: towards the original.

    Example:
        >>> from ice_lightning.counterfactuals.bases import Columns
        >>> plane = Columns(torch.eye(2), torch.eye(2))
        >>> found = Paper(steps=2, lr=0.5)(lambda u: 10 - u @ torch.tensor([3.0, 4.0]), torch.zeros(1, 2), plane)
        >>> found.t, found.after  # one move: half the gradient, wherever the boundary is
        (tensor([[1.5000, 2.0000]]), tensor([-2.5000]))
    """

    steps: int = 20
    margin: float = 0.0
    lr: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 1e-3

    @property
    def bound(self) -> float | None:
        """None: it goes as far as its steps take it."""
        return None

    def __post_init__(self) -> None:
        """Refuse settings that allow no search."""
        check(None, self.margin)
        at_least("counterfactual.steps", self.steps, 2)
        if not (is_number(self.lr) and self.lr > 0):
            raise problem("counterfactual.lr above 0, in units of the latent", self.lr, "1 is usual")
        if not (is_number(self.momentum) and 0 <= self.momentum < 1):
            raise problem("counterfactual.momentum of at least 0 and below 1", self.momentum, "0.9 is usual")
        if not (is_number(self.weight_decay) and self.weight_decay >= 0):
            raise problem("counterfactual.weight_decay of at least 0", self.weight_decay, "0.001 is usual")

    def __call__(self, score: Score, u: Tensor, basis: NamedBasis) -> Counterfactuals:
        """Search for people u (N, n) within a basis; the last image counts, whatever came before."""
        state = SearchState(score, u, basis, self.margin)
        rows = torch.arange(len(u), device=u.device)
        c, velocity = torch.zeros_like(state.best), torch.zeros_like(state.best)
        for step in range(self.steps - 1):
            g = state.at(basis.along(c), rows, gradient=True)[1] if step else state.first
            velocity = self.momentum * velocity + basis.slopes(g) + self.weight_decay * c
            c = c - self.lr * velocity
        t = basis.along(c)
        with torch.no_grad():
            after = score(basis.displace(u, t))
        return Counterfactuals(t, state.before, after, state.flips(after * state.sign), state.evaluations + 1)

"""A search for counterfactuals of several people, with what each of them changes in the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ice_lightning.checks import problem
from ice_lightning.counterfactuals.base import Counterfactuals, Score
from ice_lightning.counterfactuals.bases import Basis
from ice_lightning.counterfactuals.gradient import Gradient
from ice_lightning.counterfactuals.line import Line
from ice_lightning.counterfactuals.paper import Paper
from ice_lightning.parallel import one_by_one


class Start(NamedTuple):
    """What every search of the same people by the same score begins with, whatever its basis.

    Attributes:
        score: (N,) of the originals.
        slope: (N, n) its gradient in their latents.
    """

    score: Tensor
    slope: Tensor


def start_of(score: Score, U: Tensor) -> Start:
    """Scores and gradients of people (N, n), one by one on a CPU.

    Args:
        score: latents -> score.
        U: people.

    Returns:
        To be shared by searches.

    Example:
        >>> start_of(lambda u: u.square().sum(1), torch.tensor([[1.0, 2.0]])).slope.tolist()
        [[2.0, 4.0]]
    """

    def look(u: Tensor) -> tuple[Tensor, Tensor]:
        at = u.detach().requires_grad_()
        with torch.enable_grad():
            value = score(at)
            return value.detach(), torch.autograd.grad(value.sum(), at)[0]

    parts = one_by_one(look, U) if len(U) else [(U[:, 0], U)]
    return Start(*(torch.cat(column) for column in zip(*parts, strict=True)))


class _Known(torch.autograd.Function):
    """A score at latents where it and its gradient are known."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, score: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return score.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0][:, None] * ctx.saved_tensors[0], None, None


def search(
    method: Callable[..., Counterfactuals],
    score: Score,
    draw: Callable[[Tensor], Tensor],
    U: Tensor,
    basis: Basis,
    images: Tensor,
    *more: Tensor,
    start: Start | None = None,
) -> tuple[Counterfactuals, Tensor]:
    """What a method finds for people, one by one on a CPU.

    Args:
        method: of (score, people, basis, more).
        score: latents -> score, whose sign is the decision.
        draw: latents -> images (N, 3, H, W).
        U: people (N, n).
        basis: where they may go.
        images: of the people.
        more: rows for each person that the method takes as well.
        start: the score and its gradient at the people, where they are known; they serve the methods of this package
            alone, since another's may differentiate twice, or by torch.func.

    Returns:
        The moves, and by how much each changes the image (N,), root mean square over pixels.
    """
    shared = isinstance(method, Gradient | Line | Paper)

    def searched(places: Tensor, u: Tensor, image: Tensor, *columns: Tensor) -> tuple[Counterfactuals, Tensor]:
        own = basis.of(places)

        def known_at_first(v: Tensor) -> Tensor:
            if start is None or not shared or v.shape != u.shape or not torch.equal(v, u):
                return score(v)
            return _Known.apply(v, start.score[places], start.slope[places])

        moves = method(known_at_first, u, own, *columns)
        if not isinstance(moves, Counterfactuals):
            fix = "return ice_lightning.counterfactuals.base.Counterfactuals"
            raise problem("Counterfactuals from the method of search", f"a {type(moves).__name__}", fix)
        with torch.no_grad():
            change = (draw(own.displace(u, moves.t)) - image).square().mean((1, 2, 3)).sqrt()
        return moves, change

    if not len(U):
        none, nobody = U[:, 0], torch.zeros(0, dtype=torch.bool, device=U.device)
        return Counterfactuals(U.new_zeros(0, basis.dim), none, none, nobody, nobody.long()), none
    parts = one_by_one(searched, torch.arange(len(U), device=U.device), U, images, *more)
    moves = Counterfactuals(*(torch.cat(column) for column in zip(*(part for part, _ in parts), strict=True)))
    return moves, torch.cat([change for _, change in parts])

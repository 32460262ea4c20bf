"""A search for counterfactuals of several people, with what each of them changes in the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ice_lightning.checks import problem
from ice_lightning.counterfactuals.base import Counterfactuals, Score
from ice_lightning.counterfactuals.bases import Basis
from ice_lightning.parallel import one_by_one


def search(
    method: Callable[..., Counterfactuals],
    score: Score,
    draw: Callable[[Tensor], Tensor],
    U: Tensor,
    basis: Basis,
    images: Tensor,
    *more: Tensor,
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

    Returns:
        The moves, and by how much each changes the image (N,), root mean square over pixels.
    """

    def searched(places: Tensor, u: Tensor, image: Tensor, *columns: Tensor) -> tuple[Counterfactuals, Tensor]:
        own = basis.of(places)
        moves = method(score, u, own, *columns)
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

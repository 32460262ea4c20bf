"""Where a counterfactual may go: the columns that its moves multiply, in units of the population's own spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ice_lightning.counterfactual import moved

POPULATION = 512
"""People whose spread in the latent space is the unit of moves."""


def deviations(U: Tensor) -> Tensor:
    """Standard deviation of each coordinate of a population (N, n), (n,); the smallest other where one doesn't vary."""
    std = U.std(0)
    return torch.where(std > 0, std, std[std > 0].min() if (std > 0).any() else torch.ones(()).to(U))


def named(directions: Tensor, U: Tensor) -> Tensor:
    """Directions (n, k), each as long as one standard deviation of a population (N, n) along it."""
    V = directions.to(U)
    return V * deviations(U @ V)


def random_bases(spread: Tensor, deviation: Tensor, numbers: Sequence[int], seed: int) -> Tensor:
    """Random subspaces (N, n, k) of the dimension of `spread` (n, k), another one for each person.

    They lie in the coordinates in which the named one lies, evenly in units of their deviations (n,).

    Args:
        spread: of the named subspace.
        deviation: see above.
        numbers: of the people; a person's subspace depends on number and seed alone.
        seed: see above.
    """
    moves = spread.abs().amax(1) > 0
    bases = []
    for number in numbers:
        draw = torch.Generator().manual_seed(1_000_003 * (seed + 1) + int(number))
        normal = torch.randn(int(moves.sum()), spread.shape[1], generator=draw, dtype=torch.float64)
        basis = torch.zeros(*spread.shape, dtype=spread.dtype)
        basis[moves.cpu()] = torch.linalg.qr(normal).Q.to(spread.dtype)
        bases.append(basis.to(spread.device) * deviation[:, None])
    return torch.stack(bases)


@torch.no_grad()
def matching_factor(
    draw: Callable[[Tensor], Tensor], u: Tensor, spread: Tensor, other: Tensor, bound: float, halvings: int = 12
) -> float:
    """What to multiply `other` by, so that its moves change images as much as those in `spread`.

    Both are sampled at the same moves, evenly in the box; the change is the root of the mean square over pixels.

    Args:
        draw: latents (N, n) -> images (N, 3, H, W).
        u: (N, n).
        spread: see `counterfactual.moved`.
        other: see `counterfactual.moved`.
        bound: half the side of the box.
        halvings: of the bracket.
    """
    k = spread.shape[-1]
    t = bound * (2 * torch.rand(len(u), k, generator=torch.Generator().manual_seed(0)) - 1).to(u)
    original = draw(u)

    def change(columns: Tensor) -> float:
        return float((draw(moved(u, columns, t)) - original).square().mean().sqrt())

    target, low, high = change(spread), 0.0, 1.0
    while change(other * high) < target and high < 1e3:
        low, high = high, 2 * high
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if change(other * middle) < target else (low, middle)
    return high

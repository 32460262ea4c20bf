"""Walks along a direction, at strengths that a person can see."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.subspace import Subspace

VISIBLE = 0.3
"""RGB distance by which the most changed hundredth of the pixels differs from the original, at full strength."""
FARTHEST = 1e4
"""No direction of unit length is walked farther."""


def most_changed(image: Tensor, original: Tensor, share: float = 0.01) -> Tensor:
    """Mean RGB distance over the most changed `share` of the pixels: (N, 3, H, W) twice -> (N,)."""
    distance = (image - original).square().sum(1).sqrt().flatten(1)
    return distance.topk(max(1, round(share * distance.shape[1])), 1).values.mean(1)


@torch.no_grad()
def visible_strength(
    generator: AnyGenerator, subspace: Subspace, u: Tensor, direction: int = 0, target: float = VISIBLE
) -> float:
    """The strength at which the most changed pixels of people u (N, n) differ by `target` on average, to 3 % of it.

    Both signs count half each. What is seen grows nearly in proportion to the strength, so a few tries lead there; else
    a bracket is halved in proportion. FARTHEST, about, where nothing is ever seen.
    """
    original = generator(u, subspace.space).clamp(0, 1)

    def effect(strength: float) -> float:
        sides = [generator(subspace.edit(u, direction, sign * strength), subspace.space) for sign in (-1, 1)]
        clamped = [most_changed(side.clamp(0, 1), original).mean() for side in sides]
        return float(torch.stack(clamped).mean())

    strength, low, high = 1.0, 1e-4, FARTHEST
    for _ in range(30):
        reached = effect(strength)
        if abs(reached - target) <= 0.03 * target or high < 1.001 * low:
            break
        low, high = (strength, high) if reached < target else (low, strength)
        guess = strength * target / max(reached, 0.1 * target)
        strength = guess if low < guess < high else math.sqrt(low * high)
    return strength


def strengths_to(top: float, count: int = 5) -> list[float]:
    """Evenly from -top to top.

    Args:
        top: at both ends, in latent units.
        count: odd, so that the original is in the middle.

    Returns:
        (count,) strengths, ascending.

    Example:
        >>> strengths_to(3.0)
        [-3.0, -1.5, 0.0, 1.5, 3.0]
    """
    return [top * (2 * i / (count - 1) - 1) for i in range(count)]


@torch.no_grad()
def traverse(
    generator: AnyGenerator, subspace: Subspace, u: Tensor, strengths: list[float], direction: int = 0
) -> Tensor:
    """People u (N, n) at each strength: (N, len(strengths), 3, H, W) in 0..1."""
    columns = [generator(subspace.edit(u, direction, s), subspace.space).clamp(0, 1) for s in strengths]
    return torch.stack(columns, 1)

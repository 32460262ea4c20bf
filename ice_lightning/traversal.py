"""Walks along a direction, at strengths that a person can see."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.checks import problem
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.subspace import Subspace

VISIBLE = 0.3
"""RGB distance by which the most changed hundredth of the pixels differs from the original, at full strength."""
FARTHEST = 1e4
"""No direction of unit length is walked farther."""
STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Shares of the strength at the ends at which a walk is drawn; the original is in the middle."""


class Walk(NamedTuple):
    """People along a direction.

    Attributes:
        strengths: of the steps, in latent units, ascending; 0 is the original.
        images: (N, len(strengths), 3, H, W) in 0..1.
    """

    strengths: list[float]
    images: Tensor


def most_changed(image: Tensor, original: Tensor, share: float = 0.01) -> Tensor:
    """Mean RGB distance over the most changed pixels.

    Args:
        image: (N, 3, H, W) in 0..1.
        original: the same people before.
        share: of the pixels, in (0, 1]; at least one is taken.

    Returns:
        (N,) distances, 0 to sqrt(3).

    Example:
        >>> image = torch.zeros(1, 3, 10, 10)
        >>> image[0, 0, 0, 0] = 0.5
        >>> most_changed(image, torch.zeros(1, 3, 10, 10)).tolist()
        [0.5]
    """
    distance = (image - original).square().sum(1).sqrt().flatten(1)
    return distance.topk(max(1, round(share * distance.shape[1])), 1).values.mean(1)


@torch.no_grad()
def visible_strength(
    generator: AnyGenerator, subspace: Subspace, u: Tensor, direction: int = 0, target: float = VISIBLE
) -> float:
    """The strength at which a change is plain to see, to 3 % of the target.

    Both signs count half each. What is seen grows nearly in proportion to the strength, so a few tries lead there; else
    a bracket is halved in proportion.

    Args:
        generator: of the subspace.
        subspace: whose direction it is.
        u: people (N, n), over whom the distance is averaged.
        direction: column of the subspace, 0 is the strongest.
        target: RGB distance of the most changed hundredth of the pixels.

    Returns:
        In latent units, above 0; about FARTHEST where nothing is ever seen.
    """
    original = generator(u, subspace.space).clamp(0, 1)

    def effect(strength: float) -> float:
        ends = [generator(subspace.edit(u, direction, sign * strength), subspace.space) for sign in (-1, 1)]
        distances = [most_changed(image.clamp(0, 1), original).mean() for image in ends]
        return float(torch.stack(distances).mean())

    strength, low, high = 1.0, 1e-4, FARTHEST
    for _ in range(30):
        reached = effect(strength)
        if abs(reached - target) <= 0.03 * target or high < 1.001 * low:
            break
        low, high = (strength, high) if reached < target else (low, strength)
        guess = strength * target / max(reached, 0.1 * target)
        strength = guess if low < guess < high else math.sqrt(low * high)
    return strength


@torch.no_grad()
def traverse(
    generator: AnyGenerator, subspace: Subspace, u: Tensor, strengths: list[float], direction: int = 0
) -> Tensor:
    """Draw people at several strengths of a direction.

    Args:
        generator: of the subspace.
        subspace: whose direction it is.
        u: people (N, n).
        strengths: in latent units.
        direction: column of the subspace, 0 is the strongest.

    Returns:
        (N, len(strengths), 3, H, W) in 0..1.
    """
    columns = [generator(subspace.edit(u, direction, s), subspace.space).clamp(0, 1) for s in strengths]
    return torch.stack(columns, 1)


def walk(
    generator: AnyGenerator, subspace: Subspace, u: Tensor, direction: int = 0, strength: float | None = None
) -> Walk:
    """Draw people to both ends of a direction, at the steps of STEPS.

    Args:
        generator: of the subspace.
        subspace: whose direction it is.
        u: people (N, n).
        direction: column of the subspace, 0 is the strongest.
        strength: at the ends, in latent units, above 0; None for where the change is plain to see.

    Returns:
        Strengths and images.

    Raises:
        IceError: where the generator draws anything but finite numbers so far away.
    """
    top = strength or visible_strength(generator, subspace, u, direction)
    strengths = [top * step for step in STEPS]
    images = traverse(generator, subspace, u, strengths, direction)
    if not images.isfinite().all():
        got = f"NaN or infinite ones at strengths up to {top:.3g}"
        raise problem("finite pixels along the direction", got, "lower the strength, or look at the latents")
    return Walk(strengths, images)

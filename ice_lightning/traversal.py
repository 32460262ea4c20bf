"""Walks along a direction, at strengths that a person can see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ice_lightning.checks import problem
from ice_lightning.modules.generator import AnyGenerator

VISIBLE = 0.3
"""RGB distance by which the most changed hundredth of the pixels differs from the original, at full strength."""
FARTHEST = 1e4
"""No direction of unit length is walked farther."""
STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Shares of the strength at the ends at which a walk is drawn; the original is in the middle."""


class Mover(Protocol):
    """What moves people along directions: a subspace, or one at these very people."""

    @property
    def space(self) -> str:
        """Of the latents."""

    def edit(self, u: Tensor, direction: int = 0, strength: float | Tensor = 1.0) -> Tensor:
        """People (N, n) moved along a direction; a strength for everyone, or (N,)."""


class Walk(NamedTuple):
    """People along a direction.

    Attributes:
        strengths: (N, K) of the steps, in lengths of the direction, ascending; 0 is the original.
        images: (N, K, 3, H, W) in 0..1.
    """

    strengths: Tensor
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


def visible_strength(
    generator: AnyGenerator, mover: Mover, u: Tensor, direction: int = 0, target: float = VISIBLE
) -> float:
    """The strength at which a change is plain to see on average over people, to 3 % of the target.

    Args:
        generator: of the mover.
        mover: a subspace, or one at these people.
        u: people (N, n), over whom the distance is averaged.
        direction: 0 is the strongest of the average.
        target: RGB distance of the most changed hundredth of the pixels; both signs count half each.

    Returns:
        In lengths of the direction, above 0; about FARTHEST where nothing is ever seen.
    """

    def effect(strength: Tensor) -> Tensor:
        return changes(generator, mover, u, direction, strength.expand(len(u))).mean(0, keepdim=True)

    return float(where_reached(effect, 1, target))


def visible_strengths(
    generator: AnyGenerator, mover: Mover, u: Tensor, direction: int = 0, target: float = VISIBLE
) -> Tensor:
    """The strengths at which each person's change is plain to see, to 3 % of the target.

    Args:
        generator: of the mover.
        mover: a subspace, or one at these people.
        u: people (N, n).
        direction: 0 is the strongest of the average.
        target: see `visible_strength`.

    Returns:
        (N,), see `visible_strength`.
    """
    return where_reached(lambda strengths: changes(generator, mover, u, direction, strengths), len(u), target)


@torch.no_grad()
def changes(generator: AnyGenerator, mover: Mover, u: Tensor, direction: int, strengths: Tensor) -> Tensor:
    """By how much each person's image changes along a direction, averaged over both signs.

    Args:
        generator: of the mover.
        mover: a subspace, or one at these people.
        u: people (N, n).
        direction: 0 is the strongest of the average.
        strengths: (N,), in lengths of the direction.

    Returns:
        (N,), see `most_changed`.
    """
    original = generator(u, mover.space).clamp(0, 1)
    ends = [generator(mover.edit(u, direction, sign * strengths), mover.space).clamp(0, 1) for sign in (-1, 1)]
    return torch.stack([most_changed(image, original) for image in ends]).mean(0)


def where_reached(effect: Callable[[Tensor], Tensor], count: int, target: float) -> Tensor:
    """Where effects that grow with their strength are as large as wanted, to 3 %.

    They grow nearly in proportion, so a few tries lead there; else a bracket is halved in proportion.

    Args:
        effect: strengths (count,) -> their effects (count,), each by itself.
        count: how many strengths are looked for.
        target: of the effects.

    Returns:
        (count,), above 0; about FARTHEST where the target is out of reach.

    Example:
        >>> where_reached(lambda strengths: torch.tensor([1.0, 3.0]) * strengths, 2, 6.0).tolist()
        [6.0, 2.0]
    """
    strengths = torch.ones(count, dtype=torch.float64)
    low, high, done = 1e-4 * strengths, FARTHEST * strengths, torch.zeros(count, dtype=torch.bool)
    for _ in range(30):
        reached = effect(strengths).cpu().double()
        done |= ((reached - target).abs() <= 0.03 * target) | (high < 1.001 * low)
        if done.all():
            break
        below = reached < target
        low, high = torch.where(~done & below, strengths, low), torch.where(~done & ~below, strengths, high)
        guess = strengths * target / reached.clamp_min(0.1 * target)
        nearer = torch.where((low < guess) & (guess < high), guess, (low * high).sqrt())
        strengths = torch.where(done, strengths, nearer)
    return strengths


@torch.no_grad()
def traverse(
    generator: AnyGenerator, mover: Mover, u: Tensor, strengths: Sequence[float | Tensor], direction: int = 0
) -> Tensor:
    """Draw people at several strengths of a direction.

    Args:
        generator: of the mover.
        mover: a subspace, or one at these people.
        u: people (N, n).
        strengths: K, in lengths of the direction; each a number or (N,).
        direction: 0 is the strongest of the average.

    Returns:
        (N, K, 3, H, W) in 0..1.
    """
    columns = [generator(mover.edit(u, direction, s), mover.space).clamp(0, 1) for s in strengths]
    return torch.stack(columns, 1)


def walk(
    generator: AnyGenerator, mover: Mover, u: Tensor, direction: int = 0, strength: float | Tensor | None = None
) -> Walk:
    """Draw people to both ends of a direction, at the steps of STEPS.

    Args:
        generator: of the mover.
        mover: a subspace, or one at these people.
        u: people (N, n).
        direction: 0 is the strongest of the average.
        strength: at the ends, in lengths of the direction, above 0; a number, (N,), or None for where the change is
            plain to see on average.

    Returns:
        Strengths and images.

    Raises:
        IceError: where the generator draws anything but finite numbers so far away.
    """
    if strength is None:
        strength = visible_strength(generator, mover, u, direction)
    tops = torch.as_tensor(strength, dtype=torch.float64).reshape(-1).expand(len(u))
    # Ends first: a mover that has to search its way passes the other steps on it.
    order = sorted(range(len(STEPS)), key=lambda i: -abs(STEPS[i]))
    drawn = traverse(generator, mover, u, [STEPS[i] * tops for i in order], direction)
    images = drawn[:, [order.index(i) for i in range(len(STEPS))]]
    if not images.isfinite().all():
        got = f"NaN or infinite ones at strengths up to {float(tops.max()):.3g}"
        raise problem("finite pixels along the direction", got, "lower the strength, or look at the latents")
    return Walk(tops[:, None] * torch.tensor(STEPS, dtype=torch.float64), images)

"""Who counts as the same person to an identity network: the threshold of its equal error rate on drawn people.

A cosine means something else to every network: those of different people are about 0 to one and about 0.9 to another.
Pairs of different people are there at once. Pairs of the same one are the person's picture and what it would be in
another light, by a softer lens, mirrored or with the head held aslant: nobody becomes another person by these. Such
pairs are easier than two photographs of someone on two days, so that the threshold is strict rather than lenient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

PEOPLE = 64
"""So many give 2,016 pairs of different people, enough for an error rate of a hundredth."""
WORST = 0.1
"""Above this error rate a network can't tell people from each other, and there is no threshold."""


class Verification(NamedTuple):
    """When two pictures count as the same person.

    Attributes:
        threshold: of the cosine; above it they do.
        error: the equal error rate there, 0 to 1.
    """

    threshold: float
    error: float


@torch.no_grad()
def verification(identity: Callable[[Tensor], Tensor], images: Sequence[Tensor]) -> Verification:
    """The threshold at which as many of the same are refused as of the different are accepted.

    Args:
        identity: images -> embeddings (N, d).
        images: of different people, (N, 3, H, W) in 0..1, in parts that fit in memory.

    Returns:
        Both rounded to four digits, since batches of other sizes or processes round otherwise.
    """
    e = torch.cat([identity(part) for part in images])
    again = [torch.cat(each) for each in zip(*([identity(x) for x in retaken(part)] for part in images), strict=True)]
    genuine = torch.cat([F.cosine_similarity(e.double(), other.double()) for other in again])
    unit = F.normalize(e.double())
    impostor = (unit @ unit.T)[torch.ones(len(e), len(e), dtype=torch.bool, device=e.device).triu(1)]
    threshold, error = equal_error(genuine[genuine.isfinite()], impostor[impostor.isfinite()])
    return Verification(round(threshold, 4), round(error, 4))


def equal_error(genuine: Tensor, impostor: Tensor) -> tuple[float, float]:
    """Threshold and rate at which the share of genuine refused comes nearest to that of impostors accepted.

    Args:
        genuine: cosines (G,) of pairs of the same person, accepted above the threshold.
        impostor: cosines (I,) of pairs of different ones.

    Returns:
        The middle of the thresholds that do equally well, and the mean of the two shares there; (NaN, NaN) without
        pairs of both kinds.

    Example:
        >>> threshold, error = equal_error(torch.tensor([0.8, 0.9]), torch.tensor([0.1, 0.2]))
        >>> round(threshold, 3), error
        (0.5, 0.0)
    """
    if not (len(genuine) and len(impostor)):
        return math.nan, math.nan
    both = torch.cat([genuine, impostor]).sort().values
    between = (both[1:] + both[:-1]) / 2
    refused = torch.searchsorted(genuine.sort().values, between, right=True) / len(genuine)
    accepted = 1 - torch.searchsorted(impostor.sort().values, between, right=True) / len(impostor)
    difference = (refused - accepted).abs()
    best = difference == difference.min()
    return float(between[best].mean()), float((refused + accepted)[best].mean() / 2)


def retaken(x: Tensor) -> list[Tensor]:
    """Four other pictures of the same people (N, 3, H, W).

    >>> [tuple(each.shape) for each in retaken(torch.rand(2, 3, 4, 4))]
    [(2, 3, 4, 4), (2, 3, 4, 4), (2, 3, 4, 4), (2, 3, 4, 4)]
    """
    return [
        turned(x.flip(3).pow(1.4), 5),
        turned(tinted(x.pow(0.7), 0.1), -5),
        softened(tinted(0.8 * x, -0.1).flip(3)),
        softened(x.pow(0.7)),
    ]


def tinted(x: Tensor, warmth: float) -> Tensor:
    """More red and less blue, or the other way round.

    Args:
        x: (N, 3, H, W) in 0..1.
        warmth: share by which red grows and blue falls; below 0 for a colder light.

    Returns:
        (N, 3, H, W) in 0..1.

    Example:
        >>> tinted(torch.full((1, 3, 1, 1), 0.5), 0.1).flatten()
        tensor([0.5500, 0.5000, 0.4500])
    """
    return (x * x.new_tensor([1 + warmth, 1, 1 - warmth]).view(3, 1, 1)).clamp(0, 1)


def softened(x: Tensor) -> Tensor:
    """At half the resolution, and back."""
    return F.interpolate(F.avg_pool2d(x, 2), x.shape[2:], mode="bilinear")


def turned(x: Tensor, degrees: float) -> Tensor:
    """Turned about the centre of the image, whose border is repeated.

    Args:
        x: (N, 3, H, W).
        degrees: positive turns the picture anticlockwise.

    Returns:
        (N, 3, H, W).

    Example:
        >>> x = torch.zeros(1, 3, 3, 3)
        >>> x[..., 1, 2] = 1  # what is on the right comes to the top
        >>> turned(x, 90)[0, 0].round(decimals=3)
        tensor([[0., 1., 0.],
                [0., 0., 0.],
                [0., 0., 0.]])
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = x.new_tensor([[cos, -sin, 0], [sin, cos, 0]]).expand(len(x), 2, 3)
    where = F.affine_grid(turn, list(x.shape), align_corners=False)
    return F.grid_sample(x, where, padding_mode="border", align_corners=False)

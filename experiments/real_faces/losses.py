"""What student and adversary are trained by: pure functions of pictures, (N, 3, H, W) in -1..1, and of logits, (N,)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def pyramid(image: Tensor, target: Tensor) -> Tensor:
    """L1 at each side from that of the pictures down to 8 px, summed: coarse errors count at every side."""
    total = F.l1_loss(image, target)
    while image.shape[-1] > 8:
        image, target = F.avg_pool2d(image, 2), F.avg_pool2d(target, 2)
        total = total + F.l1_loss(image, target)
    return total


def matching(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """L1 between a discriminator's features of two pictures, in units of the second one's, mean over stages.

    Feature matching (Salimans et al. 2016, section 3.1) between paired pictures (Wang et al. 2018, pix2pixHD, eq. 4).
    """
    parts = [(a - b).abs().mean() / b.abs().mean().clamp_min(1e-8) for a, b in zip(found, wanted, strict=True)]
    return torch.stack(parts).mean()


def deceive(fake: Tensor) -> Tensor:
    """The generator's non-saturating loss (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake).mean()


def discern(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss (Goodfellow et al. 2014, eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def r1(judge: Callable[[Tensor], tuple[Tensor, list[Tensor]]], real: Tensor) -> Tensor:
    """Half the squared gradient of the logit in true pictures (Mescheder et al. 2018, eq. 9), with gamma = 1."""
    with torch.enable_grad():
        real = real.detach().requires_grad_(True)
        logits, _ = judge(real)
        (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean() / 2

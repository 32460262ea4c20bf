"""Blocks that the embedded face networks share: smooth, in eval mode pointwise deterministic."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv_block(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch norm, SiLU, which is smooth, as Jacobians need it.

    Args:
        c_in: channels in.
        c_out: channels out.
        stride: pixels from one output to the next.

    Returns:
        (N, c_in, H, W) -> (N, c_out, H / stride, W / stride).

    Example:
        >>> conv_block(3, 8, stride=2)(torch.ones(2, 3, 16, 16)).shape
        torch.Size([2, 8, 8, 8])
    """
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out), nn.SiLU())


class Trunk(nn.Module):
    """Strided encoder of images (N, 3, S, S) in 0..1: each stage halves the resolution.

    Args:
        widths: channels of each stage.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        pairs = zip((3, *widths[:-1]), widths, strict=True)
        self.stages = nn.ModuleList(nn.Sequential(conv_block(a, b, 2), conv_block(b, b)) for a, b in pairs)

    def forward(self, image: Tensor) -> list[Tensor]:
        """All stages' outputs (N, widths[i], S / 2^(i + 1), S / 2^(i + 1)), finest first."""
        outputs, x = [], image * 2 - 1
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


class Decoder(nn.Module):
    """U-Net decoder over a Trunk's outputs (Ronneberger et al. 2015): back to the finest stage's resolution.

    Args:
        widths: those of the trunk.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        pairs = zip(widths[:0:-1], widths[-2::-1], strict=True)
        self.stages = nn.ModuleList(conv_block(deep + fine, fine) for deep, fine in pairs)

    def forward(self, outputs: list[Tensor]) -> Tensor:
        """A trunk's outputs -> (N, widths[0], S / 2, S / 2)."""
        x = outputs[-1]
        for stage, fine in zip(self.stages, outputs[-2::-1], strict=True):
            x = stage(cat_up(x, fine))
        return x


def cat_up(x: Tensor, fine: Tensor) -> Tensor:
    """Coarse features beside fine ones.

    Args:
        x: (N, C, H, W), upsampled twofold, bilinearly.
        fine: (N, D, 2 H, 2 W).

    Returns:
        (N, C + D, 2 H, 2 W).

    Example:
        >>> cat_up(torch.ones(1, 2, 4, 4), torch.ones(1, 3, 8, 8)).shape
        torch.Size([1, 5, 8, 8])
    """
    return torch.cat([F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), fine], 1)

"""The adversary: a residual network that tells the teacher's pictures from the student's.

Karras et al. 2019b (arXiv 1912.04958, section 4.1 and figure 7: residual discriminator) with the minibatch standard
deviation and the equalised learning rate of Karras et al. 2018 (arXiv 1710.10196, sections 3 and 4.1). Cheaper for a
CPU: the first convolution takes patches of 4 x 4 pixels in steps of two, so that nothing works at the full side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.modules.mapping import FullyConnected


class Conv(nn.Module):
    """A convolution with equalised learning rate and, where it has a bias, a leaky ReLU that keeps the variance."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, linear: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel))
        self.bias = None if linear else nn.Parameter(torch.zeros(c_out))
        self.stride, self.padding = stride, (kernel - 1) // 2
        self.gain = 1 / math.sqrt(c_in * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / stride, W / stride)."""
        x = F.conv2d(x, self.weight * self.gain, self.bias, self.stride, self.padding)
        return x if self.bias is None else F.leaky_relu(x, 0.2) * math.sqrt(2)


class Down(nn.Module):
    """Two convolutions, the second to half the side, beside a mean and a 1 x 1 convolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv0, self.conv1 = Conv(c_in, c_in, 3), Conv(c_in, c_out, 3, stride=2)
        self.skip = Conv(c_in, c_out, 1, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H / 2, W / 2)."""
        return (self.conv1(self.conv0(x)) + self.skip(F.avg_pool2d(x, 2))) * math.sqrt(0.5)


class Discriminator(nn.Module):
    """Pictures to logits, above 0 for the teacher's.

    Args:
        channels: at half the side of the pictures, and at each half of it down to 4 px.
        group: pictures among which the minibatch standard deviation is taken.
    """

    def __init__(self, channels: Sequence[int] = (40, 80, 160, 192), group: int = 4) -> None:
        super().__init__()
        self.group = group
        self.patches = Conv(3, channels[0], 4, stride=2)
        self.stages = nn.ModuleList(Down(a, b) for a, b in pairwise(channels))
        self.last = Conv(channels[-1] + 1, channels[-1], 3)
        self.hidden = FullyConnected(16 * channels[-1], channels[-1], "lrelu")
        self.out = FullyConnected(channels[-1], 1)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(N, 3, H, W) in -1..1 -> logits (N,), and what each stage finds, the finest first."""
        x = self.patches(image)
        found = [x]
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        x = self.last(torch.cat([x, spread(x, self.group)], 1))
        return self.out(self.hidden(x.flatten(1)))[:, 0], found


def spread(x: Tensor, group: int) -> Tensor:
    """Standard deviation over pictures, mean over all else: a map that shows the discriminator whether pictures vary.

    Args:
        x: (N, C, H, W).
        group: pictures that are compared with each other; N where it doesn't divide N.

    Returns:
        (N, 1, H, W).
    """
    n, c, h, w = x.shape
    group = group if n % group == 0 else n
    deviation = (x.view(group, -1, c, h, w).var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    return deviation.repeat(group).view(n, 1, 1, 1).expand(n, 1, h, w)

"""The mapping network of StyleGAN2: z to w."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ice_lightning.checks import problem
from ice_lightning.ops import bias_act


class FullyConnected(nn.Module):
    """Dense layer with equalised learning rate: (N, c_in) -> (N, c_out)."""

    def __init__(
        self, c_in: int, c_out: int, act: str = "linear", lr_multiplier: float = 1.0, bias_init: float = 0.0
    ) -> None:
        super().__init__()
        self.act, self.lr_multiplier = act, lr_multiplier
        self.weight = nn.Parameter(torch.randn(c_out, c_in) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((c_out,), float(bias_init)))

    def forward(self, x: Tensor) -> Tensor:
        """Scale the stored weight and bias, then bias_act."""
        weight = self.weight * (self.lr_multiplier / math.sqrt(self.weight.shape[1]))
        return bias_act(x @ weight.T, self.bias * self.lr_multiplier, act=self.act)


def second_moment(x: Tensor) -> Tensor:
    """Rows of x scaled to unit second moment."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Mapping(nn.Module):
    """z (and a class label) to w; keeps the running mean `w_avg` for truncation."""

    def __init__(
        self, z_dim: int, c_dim: int, w_dim: int, widths: Sequence[int], lr_multiplier: float, embed: int, joint: bool
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.layers, self.joint = z_dim, c_dim, w_dim, len(widths), joint
        if c_dim:
            self.embed = FullyConnected(c_dim, embed)
        entry = z_dim + (embed if c_dim else 0)
        for i, (c_in, c_out) in enumerate(pairwise([entry, *widths])):
            self.add_module(f"fc{i}", FullyConnected(c_in, c_out, "lrelu", lr_multiplier))
        self.w_avg: Tensor
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, c: Tensor | None = None, psi: float = 1.0) -> Tensor:
        """z (N, z_dim), c (N, c_dim) one-hot or None -> w (N, w_dim), pulled to w_avg by psi (1 leaves it)."""
        x = z if self.joint else second_moment(z)
        if self.c_dim:
            if c is None or c.shape != (len(z), self.c_dim):
                got = "none" if c is None else tuple(c.shape)
                fix = f"set generator.label to a class from 0 to {self.c_dim - 1}, or pass c= one-hot rows"
                raise problem(f"class labels of shape ({len(z)}, {self.c_dim})", got, fix)
            y = self.embed(c.to(x.dtype))
            x = torch.cat([x, y if self.joint else second_moment(y)], 1)
        x = second_moment(x) if self.joint else x
        for i in range(self.layers):
            x = getattr(self, f"fc{i}")(x)
        return x if psi == 1 else self.w_avg.to(x.dtype).lerp(x, psi)

"""The mapping network of StyleGAN2: z to w.

Karras et al. 2019a (arXiv 1812.04948, section 2 and, for truncation, appendix B), with equalised learning rates
(Karras et al. 2018, arXiv 1710.10196, section 4.1); class embedding and names as in stylegan2-ada-pytorch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ice_lightning.checks import problem
from ice_lightning.ops import bias_act


class FullyConnected(nn.Module):
    """Dense layer with equalised learning rate: weights are stored at unit variance and scaled when they are used.

    Args:
        c_in: width of the input.
        c_out: width of the output.
        act: an activation of bias_act.
        lr_multiplier: factor on weight and bias, by which stored ones are the larger.
        bias_init: what the bias begins at.
    """

    def __init__(
        self, c_in: int, c_out: int, act: str = "linear", lr_multiplier: float = 1.0, bias_init: float = 0.0
    ) -> None:
        super().__init__()
        self.act, self.lr_multiplier = act, lr_multiplier
        self.weight = nn.Parameter(torch.randn(c_out, c_in) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((c_out,), float(bias_init)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in) -> (N, c_out)."""
        weight = self.weight * (self.lr_multiplier / math.sqrt(self.weight.shape[1]))
        return bias_act(x @ weight.T, self.bias * self.lr_multiplier, act=self.act)


def second_moment(x: Tensor) -> Tensor:
    """Rows of x (N, n) scaled to unit second moment, (N, n).

    Example:
        >>> second_moment(torch.tensor([[3.0, 3.0], [0.5, -0.5]])).round(decimals=4)
        tensor([[ 1.,  1.],
                [ 1., -1.]])
    """
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Mapping(nn.Module):
    """z, and a class label where there are classes, to w; keeps the running mean `w_avg` for truncation.

    Args:
        z_dim: width of z.
        c_dim: number of classes, 0 for none.
        w_dim: width of w, as the last of `widths`.
        widths: of the layers.
        lr_multiplier: of the layers.
        embed: width of the class embedding.
        joint: whether z and the embedding are scaled to unit second moment together (TensorFlow) or apart (ADA).
    """

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
        """People in w.

        Args:
            z: (N, z_dim).
            c: (N, c_dim), one-hot; None where there are no classes.
            psi: truncation: w_avg + psi (w - w_avg); 1 leaves w.

        Returns:
            (N, w_dim).

        Raises:
            IceError: for labels of another shape than (N, c_dim).
        """
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

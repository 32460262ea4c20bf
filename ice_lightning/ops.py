"""The two filtered operations of StyleGAN2: bias_act and upfirdn2d, in torch alone.

Definitions: Karras et al. 2019 (arXiv 1912.04958, appendix B) for the up-, FIR- and down-sampling order, and the
table of gains that keeps the activations' second moment. Everything here is made of torch operations that have
forward mode, vmap and double backward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ice_lightning.checks import one_of, problem


class Activation(NamedTuple):
    """An activation: its function of (x, alpha), and the published default slope and gain."""

    function: Callable[[Tensor, float], Tensor]
    alpha: float
    gain: float


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(lambda x, a: x, 0.0, 1.0),
    "relu": Activation(lambda x, a: F.relu(x), 0.0, math.sqrt(2)),
    "lrelu": Activation(lambda x, a: F.leaky_relu(x, a), 0.2, math.sqrt(2)),
    "tanh": Activation(lambda x, a: torch.tanh(x), 0.0, 1.0),
    "sigmoid": Activation(lambda x, a: torch.sigmoid(x), 0.0, 1.0),
    "elu": Activation(lambda x, a: F.elu(x), 0.0, 1.0),
    "selu": Activation(lambda x, a: F.selu(x), 0.0, 1.0),
    "softplus": Activation(lambda x, a: F.softplus(x), 0.0, 1.0),
    "swish": Activation(lambda x, a: F.silu(x), 0.0, math.sqrt(2)),
}


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """clamp(gain * act(x + b)).

    Args:
        x: any shape.
        b: (x.shape[dim],) or None.
        dim: the axis of x that b runs along.
        act: a key of ACTIVATIONS.
        alpha: slope of lrelu; None takes the published one.
        gain: factor after the activation; None takes the published one.
        clamp: limit to [-clamp, clamp] after the gain; None for none.

    Returns:
        Same shape and dtype as x.

    Raises:
        IceError: for an unknown activation or a bias of another length.
    """
    spec = ACTIVATIONS[one_of("activation", act, ACTIVATIONS)]
    if b is not None:
        if b.shape != (x.shape[dim],):
            raise problem(f"a bias of shape ({x.shape[dim]},)", tuple(b.shape), "pass one value per channel")
        shape = [1] * x.ndim
        shape[dim] = -1
        x = x + b.to(x.dtype).view(shape)
    x = spec.function(x, spec.alpha if alpha is None else alpha)
    gain = spec.gain if gain is None else gain
    if gain != 1:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def setup_filter(taps: Sequence[float] | Tensor, normalize: bool = True) -> Tensor:
    """A float32 FIR filter: (k,) taps give the (k, k) outer product, (kh, kw) stay; sum 1 when normalised."""
    f = torch.as_tensor(taps, dtype=torch.float32)
    if f.ndim not in (1, 2) or f.numel() == 0:
        raise problem("filter taps of one or two axes", tuple(f.shape), "pass for example [1, 3, 3, 1]")
    f = f.outer(f) if f.ndim == 1 else f
    return f / f.sum() if normalize else f


def _pads(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    values = [padding] if isinstance(padding, int) else list(padding)
    if len(values) == 1:
        values = values * 4
    elif len(values) == 2:
        values = [values[0], values[0], values[1], values[1]]
    if len(values) != 4:
        raise problem("padding of 1, 2 (x, y) or 4 (x0, x1, y0, y1) integers", len(values), "pass one of these")
    return values[0], values[1], values[2], values[3]


def upfirdn2d(
    x: Tensor,
    f: Tensor,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Insert zeros, pad, convolve with f, keep every `down`-th pixel.

    Args:
        x: (N, C, H, W).
        f: (kh, kw).
        up: zeros make each side `up` times as long (the sample first, up - 1 zeros after it).
        down: stride of the output.
        padding: after the zeros; one integer, (x, y) or (x0, x1, y0, y1); negative values crop.
        flip_filter: False convolves, True correlates.
        gain: factor on the output.

    Returns:
        (N, C, (H * up + y0 + y1 - kh) // down + 1, (W * up + x0 + x1 - kw) // down + 1).
    """
    n, c, h, w = x.shape
    x0, x1, y0, y1 = _pads(padding)
    if up > 1:
        x = F.pad(x.reshape(n, c, h, 1, w, 1), (0, up - 1, 0, 0, 0, up - 1)).reshape(n, c, h * up, w * up)
    if any((x0, x1, y0, y1)):
        x = F.pad(x, (x0, x1, y0, y1))
    f = f.to(x.dtype) * gain
    if not flip_filter:
        f = f.flip(0, 1)
    return F.conv2d(x, f[None, None].expand(c, 1, *f.shape), stride=down, groups=c)

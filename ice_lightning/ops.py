"""The operations of StyleGAN2, in torch alone: bias_act, upfirdn2d, and convolution with weights that stay.

Definitions: Karras et al. 2019 (arXiv 1912.04958, appendix B) for the up-, FIR- and down-sampling order, and the
table of gains that keeps the activations' second moment. Everything here has forward mode, vmap and backward passes of
any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
    f = f.to(x.dtype) * gain
    f, pads = f if flip_filter else f.flip(0, 1), _pads(padding)
    # A compiler sees through torch operations, but not through a Function with a vmap rule of its own.
    apply = _correlate if torch.compiler.is_compiling() else _Upfirdn2d.apply
    return apply(x, f, up, down, pads)


def _correlate(x: Tensor, f: Tensor, up: int, down: int, pads: tuple[int, int, int, int]) -> Tensor:
    """upfirdn2d in torch operations, with the filter as it lies."""
    n, c, h, w = x.shape
    x0, x1, y0, y1 = pads
    if up > 1:
        x = F.pad(x.reshape(n, c, h, 1, w, 1), (0, up - 1, 0, 0, 0, up - 1)).reshape(n, c, h * up, w * up)
    even = x0 == x1 >= 0 and y0 == y1 >= 0
    if not even:
        x = F.pad(x, pads)
    return F.conv2d(x, f[None, None].expand(c, 1, *f.shape), stride=down, padding=(y0, x0) if even else 0, groups=c)


class _Upfirdn2d(torch.autograd.Function):
    """_correlate, whose derivatives are upfirdn2d again.

    torch's own derivative of a depthwise convolution's backward pass takes one convolution per channel.
    """

    @staticmethod
    def forward(x: Tensor, f: Tensor, up: int, down: int, pads: tuple[int, int, int, int]) -> Tensor:
        return _correlate(x, f, up, down, pads)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, f, ctx.up, ctx.down, ctx.pads = inputs
        ctx.sides = x.shape[-2:], output.shape[-2:]
        ctx.save_for_backward(f)
        ctx.save_for_forward(f)

    @staticmethod
    def jvp(ctx: Any, x: Tensor, *_: None) -> Tensor:
        (f,) = ctx.saved_tensors
        return _Upfirdn2d.apply(x, f, ctx.up, ctx.down, ctx.pads)

    @staticmethod
    def backward(ctx: Any, y: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Up and down change places, the filter turns, and the pads are what brings back the sides of x."""
        (f,) = ctx.saved_tensors
        pads = []
        for size, out, before, taps in zip(*ctx.sides, (ctx.pads[2], ctx.pads[0]), f.shape, strict=True):
            first = taps - 1 - before
            pads.append((first, size * ctx.up + taps - 1 - out * ctx.down - first))
        (y0, y1), (x0, x1) = pads
        return _Upfirdn2d.apply(y, f.flip(0, 1), ctx.down, ctx.up, (x0, x1, y0, y1)), None, None, None, None

    @staticmethod
    def vmap(info: Any, dims: tuple, x: Tensor, f: Tensor, up: int, down: int, pads: tuple) -> tuple[Tensor, int]:
        """The mapped axis joins the batch; filters are the same for everyone."""
        return _over_batch(_Upfirdn2d, dims[0], x, f, up, down, pads), 0


def conv2d(x: Tensor, weight: Tensor, padding: int = 0) -> Tensor:
    """torch's conv2d; where the weight needs no gradient, its derivatives of any order are one convolution each.

    torch's own derivative of a convolution's backward pass computes the gradient of the weight as well.

    Args:
        x: (N, I, H, W).
        weight: (O, I, k, k).
        padding: zeros on each side.
    """
    return _convolve(x, weight, 1, padding, False)


def conv_transpose2d(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """torch's conv_transpose2d, see conv2d: x (N, I, H, W), weight (I, O, k, k)."""
    return _convolve(x, weight, stride, 0, True)


def _convolve(x: Tensor, weight: Tensor, stride: int, padding: int, transposed: bool) -> Tensor:
    apply = _raw_convolve if weight.requires_grad or torch.compiler.is_compiling() else _Convolve.apply
    return apply(x, weight, stride, padding, transposed)


def _raw_convolve(x: Tensor, weight: Tensor, stride: int, padding: int, transposed: bool) -> Tensor:
    return (F.conv_transpose2d if transposed else F.conv2d)(x, weight, stride=stride, padding=padding)


class _Convolve(torch.autograd.Function):
    """A convolution or its transpose with a constant weight: each is the other's derivative.

    The transpose brings back the side of x where stride is 1 or x was not padded, as in StyleGAN2.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: int, padding: int, transposed: bool) -> Tensor:
        return _raw_convolve(x, weight, stride, padding, transposed)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        _, weight, ctx.stride, ctx.padding, ctx.transposed = inputs
        ctx.save_for_backward(weight)
        ctx.save_for_forward(weight)

    @staticmethod
    def jvp(ctx: Any, x: Tensor, *_: None) -> Tensor:
        return _Convolve.apply(x, *ctx.saved_tensors, ctx.stride, ctx.padding, ctx.transposed)

    @staticmethod
    def backward(ctx: Any, y: Tensor) -> tuple[Tensor, None, None, None, None]:
        x = _Convolve.apply(y, *ctx.saved_tensors, ctx.stride, ctx.padding, not ctx.transposed)
        return x, None, None, None, None

    @staticmethod
    def vmap(info: Any, dims: tuple, x: Tensor, weight: Tensor, *how: Any) -> tuple[Tensor, int]:
        """The mapped axis joins the batch; the weight is the same for everyone."""
        return _over_batch(_Convolve, dims[0], x, weight, *how), 0


def _over_batch(function: type[torch.autograd.Function], dim: int, x: Tensor, *others: Any) -> Tensor:
    """The function of x with one more axis `dim`, as a larger batch: (K, N, ...)."""
    x = x.movedim(dim, 0)
    return function.apply(x.flatten(0, 1), *others).unflatten(0, x.shape[:2])

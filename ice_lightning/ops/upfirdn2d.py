"""upfirdn2d: insert zeros, pad, convolve, decimate. Linear in the image, so each of its derivatives is one as well.

Definition: Karras et al. 2019 (arXiv 1912.04958, appendix B) for the order of the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ice_lightning.checks import problem
from ice_lightning.ops import loader
from ice_lightning.ops.convolution import over_batch


def setup_filter(taps: Sequence[float] | Tensor) -> Tensor:
    """A float32 FIR filter whose sum is 1.

    Args:
        taps: (k,), of which the outer product is taken, or (kh, kw).

    Returns:
        (k, k) or (kh, kw).

    Raises:
        IceError: for taps of another shape, or none.

    Example:
        >>> setup_filter([1, 1])
        tensor([[0.2500, 0.2500],
                [0.2500, 0.2500]])
    """
    f = torch.as_tensor(taps, dtype=torch.float32)
    if f.ndim not in (1, 2) or f.numel() == 0:
        raise problem("filter taps of one or two axes", tuple(f.shape), "pass for example [1, 3, 3, 1]")
    f = f.outer(f) if f.ndim == 1 else f
    return f / f.sum()


def _pads(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    """x0, x1, y0, y1 of one number, of (x, y), or of all four."""
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
        up: zeros make height and width `up` times as long (the sample first, up - 1 zeros after it).
        down: stride of the output.
        padding: after the zeros; one integer, (x, y) or (x0, x1, y0, y1); negative values crop.
        flip_filter: False convolves, True correlates.
        gain: factor on the output.

    Returns:
        (N, C, (H * up + y0 + y1 - kh) // down + 1, (W * up + x0 + x1 - kw) // down + 1).

    Raises:
        IceError: for padding of another length.

    Example:
        >>> upfirdn2d(torch.ones(1, 1, 2, 2), setup_filter([1, 1]), up=2, padding=(1, 0, 1, 0), gain=4)
        tensor([[[[1., 1., 1., 1.],
                  [1., 1., 1., 1.],
                  [1., 1., 1., 1.],
                  [1., 1., 1., 1.]]]])
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


torch.library.define(
    "ice_lightning::upfirdn2d", "(Tensor x, Tensor f, int up, int down, int x0, int x1, int y0, int y1) -> Tensor"
)


@torch.library.impl("ice_lightning::upfirdn2d", "CompositeExplicitAutograd")
def _raw(x: Tensor, f: Tensor, up: int, down: int, x0: int, x1: int, y0: int, y1: int) -> Tensor:
    """Where no native kernel is registered."""
    return _correlate(x, f, up, down, (x0, x1, y0, y1))


@torch.library.register_fake("ice_lightning::upfirdn2d")
def _fake(x: Tensor, f: Tensor, up: int, down: int, x0: int, x1: int, y0: int, y1: int) -> Tensor:
    n, c, h, w = x.shape
    shape = (h * up + y0 + y1 - f.shape[0]) // down + 1, (w * up + x0 + x1 - f.shape[1]) // down + 1
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return x.new_empty(n, c, *shape).contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


class _Upfirdn2d(torch.autograd.Function):
    """_correlate, whose derivatives are upfirdn2d again.

    torch's own derivative of a depthwise convolution's backward pass takes one convolution per channel.
    """

    @staticmethod
    def forward(x: Tensor, f: Tensor, up: int, down: int, pads: tuple[int, int, int, int]) -> Tensor:
        if loader.wanted(x, faster=True):
            return torch.ops.ice_lightning.upfirdn2d(x, f, up, down, *pads)
        return _correlate(x, f, up, down, pads)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, f, ctx.up, ctx.down, ctx.pads = inputs
        ctx.lengths = x.shape[-2:], output.shape[-2:]
        ctx.save_for_backward(f)
        ctx.save_for_forward(f)

    @staticmethod
    def jvp(ctx: Any, x: Tensor, *_: None) -> Tensor:
        (f,) = ctx.saved_tensors
        return _Upfirdn2d.apply(x, f, ctx.up, ctx.down, ctx.pads)

    @staticmethod
    def backward(ctx: Any, y: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Up and down change places, the filter turns, and the pads are what brings back height and width of x."""
        (f,) = ctx.saved_tensors
        pads = []
        for length, out, before, taps in zip(*ctx.lengths, (ctx.pads[2], ctx.pads[0]), f.shape, strict=True):
            first = taps - 1 - before
            pads.append((first, length * ctx.up + taps - 1 - out * ctx.down - first))
        (y0, y1), (x0, x1) = pads
        return _Upfirdn2d.apply(y, f.flip(0, 1), ctx.down, ctx.up, (x0, x1, y0, y1)), None, None, None, None

    @staticmethod
    def vmap(info: Any, dims: tuple, x: Tensor, f: Tensor, up: int, down: int, pads: tuple) -> tuple[Tensor, int]:
        """The mapped axis joins the batch; filters are the same for everyone."""
        return over_batch(_Upfirdn2d, dims[0], x, f, up, down, pads), 0

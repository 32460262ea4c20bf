"""Convolutions with weights that stay, whose derivatives of any order are one convolution each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def conv2d(x: Tensor, weight: Tensor, padding: int = 0) -> Tensor:
    """torch's conv2d; where the weight needs no gradient, its derivatives of any order are one convolution each.

    torch's own derivative of a convolution's backward pass computes the gradient of the weight as well.

    Args:
        x: (N, I, H, W).
        weight: (O, I, k, k).
        padding: zeros on each side.

    Returns:
        (N, O, H + 2 padding - k + 1, W + 2 padding - k + 1).

    Example:
        >>> conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3), padding=1)
        tensor([[[[4., 6., 4.],
                  [6., 9., 6.],
                  [4., 6., 4.]]]])
    """
    return _convolve(x, weight, 1, padding, False)


def conv_transpose2d(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """torch's conv_transpose2d; where the weight needs no gradient, its derivatives are one convolution each.

    Args:
        x: (N, I, H, W).
        weight: (I, O, k, k).
        stride: pixels of the output from one pixel of x to the next.

    Returns:
        (N, O, (H - 1) stride + k, (W - 1) stride + k).

    Example:
        >>> conv_transpose2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), stride=2).shape
        torch.Size([1, 1, 4, 4])
    """
    return _convolve(x, weight, stride, 0, True)


def _convolve(x: Tensor, weight: Tensor, stride: int, padding: int, transposed: bool) -> Tensor:
    apply = _raw_convolve if weight.requires_grad or torch.compiler.is_compiling() else _Convolve.apply
    return apply(x, weight, stride, padding, transposed)


def _raw_convolve(x: Tensor, weight: Tensor, stride: int, padding: int, transposed: bool) -> Tensor:
    return (F.conv_transpose2d if transposed else F.conv2d)(x, weight, stride=stride, padding=padding)


class _Convolve(torch.autograd.Function):
    """A convolution or its transpose with a constant weight: each is the other's derivative.

    The transpose brings back the height and width of x where stride is 1 or x was not padded, as in StyleGAN2.
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
    def vmap(info: Any, dims: tuple, x: Tensor, weight: Tensor, *settings: Any) -> tuple[Tensor, int]:
        """The mapped axis joins the batch; the weight is the same for everyone."""
        return over_batch(_Convolve, dims[0], x, weight, *settings), 0


def over_batch(function: type[torch.autograd.Function], dim: int, x: Tensor, *others: Any) -> Tensor:
    """A function over a mapped axis that joins the batch.

    Args:
        function: of x (N, ...) and others.
        dim: the mapped axis of x.
        x: (N, ...) with one more axis of length K.
        others: its other arguments, over which nothing is mapped.

    Returns:
        (K, N, ...).
    """
    x = x.movedim(dim, 0)
    return function.apply(x.flatten(0, 1), *others).unflatten(0, x.shape[:2])

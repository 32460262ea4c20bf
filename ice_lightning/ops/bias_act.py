"""bias_act: add a bias, activate, scale, clamp; schema, torch kernel, fake, vmap, vjp and jvp of every order.

Definition: Karras et al. 2019 (arXiv 1912.04958) and the table of gains that keeps the activations' second moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from ice_lightning.checks import one_of, problem
from ice_lightning.ops import loader


class Activation(NamedTuple):
    """Its function of (x, alpha), the published default slope and gain, and whether it is a broken line."""

    function: Callable[[Tensor, float], Tensor]
    alpha: float
    gain: float
    broken_line: bool


# csrc/bias_act.h counts them in this order. F.silu has no forward mode within a backward pass.
ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(lambda x, a: x, 0.0, 1.0, True),
    "relu": Activation(lambda x, a: F.relu(x), 0.0, math.sqrt(2), True),
    "lrelu": Activation(lambda x, a: F.leaky_relu(x, a), 0.2, math.sqrt(2), True),
    "tanh": Activation(lambda x, a: torch.tanh(x), 0.0, 1.0, False),
    "sigmoid": Activation(lambda x, a: torch.sigmoid(x), 0.0, 1.0, False),
    "elu": Activation(lambda x, a: F.elu(x), 0.0, 1.0, False),
    "selu": Activation(lambda x, a: F.selu(x), 0.0, 1.0, False),
    "softplus": Activation(lambda x, a: F.softplus(x), 0.0, 1.0, False),
    "swish": Activation(lambda x, a: x * torch.sigmoid(x), 0.0, math.sqrt(2), False),
}
NUMBERS = {name: number for number, name in enumerate(ACTIVATIONS)}


class How(NamedTuple):
    """The settings of a bias_act: see there; clamp is below 0 for none."""

    dim: int
    act: str
    alpha: float
    gain: float
    clamp: float


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
    if b is not None and b.shape != (x.shape[dim],):
        raise problem(f"a bias of shape ({x.shape[dim]},)", tuple(b.shape), "pass one value per channel")
    how = How(
        dim % x.ndim if x.ndim else 0,
        act,
        spec.alpha if alpha is None else alpha,
        spec.gain if gain is None else gain,
        -1.0 if clamp is None else clamp,
    )
    if torch.compiler.is_compiling() or not loader.wanted(x, faster(x, act)):
        return composite(x, b, how)
    if b is not None and varies(b):
        x, b = shifted(x, b, how), None
    return _Derivative.apply(x, b, None, how, 0)


def faster(x: Tensor, act: str) -> bool:
    """Whether the native kernel was measured to be faster: one pass through memory, where that is what takes time."""
    return ACTIVATIONS[act].broken_line and x.numel() >= 2**18


def varies(b: Tensor) -> bool:
    """Whether something is differentiated in b, or mapped over it."""
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(b)
    return b.requires_grad or wrapped or forward_ad.unpack_dual(b).tangent is not None


def composite(x: Tensor, b: Tensor | None, how: How) -> Tensor:
    """bias_act in torch operations."""
    y = ACTIVATIONS[how.act].function(shifted(x, b, how), how.alpha)
    if how.gain != 1:
        y = y * how.gain
    return y if how.clamp < 0 else y.clamp(-how.clamp, how.clamp)


def shifted(x: Tensor, b: Tensor | None, how: How) -> Tensor:
    """x + b."""
    return x if b is None else x + b.to(x.dtype).view([-1 if axis == how.dim else 1 for axis in range(x.ndim)])


def derivative(x: Tensor, b: Tensor | None, how: How, order: int) -> Tensor:
    """The derivative of some order at x in torch operations: every element has its own."""

    def of(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda z: torch.func.jvp(f, (z,), (torch.ones_like(z),))[1]

    f: Callable[[Tensor], Tensor] = lambda z: composite(z, b, how)  # noqa: E731
    for _ in range(order):
        f = of(f)
    return f(x)


torch.library.define(
    "ice_lightning::bias_act",
    "(Tensor x, Tensor? b, Tensor? t, int dim, int act, float alpha, float gain, float clamp) -> Tensor",
)


@torch.library.impl("ice_lightning::bias_act", "CompositeExplicitAutograd")
def _raw(
    x: Tensor, b: Tensor | None, t: Tensor | None, dim: int, act: int, alpha: float, gain: float, clamp: float
) -> Tensor:
    """The value, or with t the derivative times t, where no native kernel is registered."""
    how = How(dim, list(ACTIVATIONS)[act], alpha, gain, clamp)
    y = derivative(x, b, how, int(t is not None))
    return y.clone() if t is None else y * t


@torch.library.register_fake("ice_lightning::bias_act")
def _fake(x: Tensor, b: Tensor | None, t: Tensor | None, *how: Any) -> Tensor:
    return torch.empty_like(x)


class _Derivative(torch.autograd.Function):
    """The derivative of some order at x times t; order 0 is bias_act itself, and has no t.

    What jvp returns is made of such Functions alone: torch doesn't see other operations there when it differentiates
    forward a second time.
    """

    @staticmethod
    def forward(x: Tensor, b: Tensor | None, t: Tensor | None, how: How, order: int) -> Tensor:
        if t is not None and order > 1:
            return derivative(x, b, how, order) * t
        number = NUMBERS[how.act]
        return torch.ops.ice_lightning.bias_act(x, b, t, how.dim, number, how.alpha, how.gain, how.clamp)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        *tensors, ctx.how, ctx.order = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, _b: None, dt: Tensor | None, *_: None) -> Tensor | None:
        x, b, t = ctx.saved_tensors
        along = None if dt is None else _Derivative.apply(x, b, dt, ctx.how, ctx.order)
        if dx is None or (ctx.order and ACTIVATIONS[ctx.how.act].broken_line):
            return torch.zeros_like(x) if along is None else along
        across = _Derivative.apply(x, b, dx if t is None else _Product.apply(t, dx), ctx.how, ctx.order + 1)
        return across if along is None else _Sum.apply(along, across)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, None, Tensor | None, None, None]:
        x, b, t = ctx.saved_tensors
        gx = gt = None
        if ctx.needs_input_grad[0] and not (ctx.order and ACTIVATIONS[ctx.how.act].broken_line):
            gx = _Derivative.apply(x, b, g if t is None else g * t, ctx.how, ctx.order + 1)
        if ctx.needs_input_grad[2]:
            gt = _Derivative.apply(x, b, g, ctx.how, ctx.order)
        return gx, None, gt, None, None

    @staticmethod
    def vmap(
        info: Any, dims: tuple, x: Tensor, b: Tensor | None, t: Tensor | None, how: How, order: int
    ) -> tuple[Tensor, int]:
        """The mapped axis stands in front of the others; nothing is mapped over b."""

        def front(each: Tensor, d: int | None) -> Tensor:
            return each.repeat(info.batch_size, *[1] * each.ndim) if d is None else each.movedim(d, 0)

        t = None if t is None else front(t, dims[2])
        return _Derivative.apply(front(x, dims[0]), b, t, how._replace(dim=how.dim + 1), order), 0


class _Product(torch.autograd.Function):
    """a * b, which torch can differentiate within a jvp."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        return a * b

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def jvp(ctx: Any, da: Tensor | None, db: Tensor | None) -> Tensor:
        a, b = ctx.saved_tensors
        parts = [_Product.apply(p, q) for p, q in ((da, b), (a, db)) if p is not None and q is not None]
        return parts[0] if len(parts) == 1 else _Sum.apply(*parts)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        return g * b, g * a


class _Sum(torch.autograd.Function):
    """a + b, likewise."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        return a + b

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        pass

    @staticmethod
    def jvp(ctx: Any, da: Tensor | None, db: Tensor | None) -> Tensor:
        parts = [part for part in (da, db) if part is not None]
        return parts[0] if len(parts) == 1 else _Sum.apply(*parts)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        return g, g

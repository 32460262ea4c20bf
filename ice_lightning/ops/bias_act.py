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
    """An activation of StyleGAN2's table (`activation_funcs` of stylegan2-ada-pytorch, torch_utils/ops/bias_act.py).

    Attributes:
        function: of (x, alpha).
        alpha: the published slope.
        gain: the published factor, which keeps the second moment.
        piecewise_linear: whether its second derivative is 0.
    """

    function: Callable[[Tensor, float], Tensor]
    alpha: float
    gain: float
    piecewise_linear: bool


# F.silu has no forward mode within a backward pass.
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
"""By name, in the order in which csrc/bias_act.h counts them."""
NUMBERS = {name: number for number, name in enumerate(ACTIVATIONS)}
"""What csrc/bias_act.h calls them."""
LARGE = 2**18
"""Elements from which on the native kernel was measured to be faster on a CPU (experiments/ops)."""


class Settings(NamedTuple):
    """The settings of a bias_act, none of them left to defaults.

    Attributes:
        dim: the axis of x that the bias runs along, from 0.
        act: a key of ACTIVATIONS.
        alpha: slope of lrelu.
        gain: factor after the activation.
        clamp: limit to [-clamp, clamp]; below 0 for none.
    """

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

    Example:
        >>> bias_act(torch.tensor([[-2.0, 1.0]]), torch.tensor([1.0, 1.0]), act="lrelu", gain=1)
        tensor([[-0.2000,  2.0000]])
    """
    spec = ACTIVATIONS[one_of("activation", act, ACTIVATIONS)]
    if b is not None and b.shape != (x.shape[dim],):
        raise problem(f"a bias of shape ({x.shape[dim]},)", tuple(b.shape), "pass one value per channel")
    settings = Settings(
        dim % x.ndim if x.ndim else 0,
        act,
        spec.alpha if alpha is None else alpha,
        spec.gain if gain is None else gain,
        -1.0 if clamp is None else clamp,
    )
    if torch.compiler.is_compiling() or not loader.wanted(x, faster(x, act)):
        return composite(x, b, settings)
    if b is not None and varies(b):
        x, b = shifted(x, b, settings), None
    return _Derivative.apply(x, b, None, settings, 0)


def faster(x: Tensor, act: str) -> bool:
    """Whether the native kernel was measured to be faster: it passes through memory only once.

    Args:
        x: any shape.
        act: a key of ACTIVATIONS.

    Returns:
        True for piecewise linear activations of many elements.
    """
    return ACTIVATIONS[act].piecewise_linear and x.numel() >= LARGE


def varies(b: Tensor) -> bool:
    """Whether b is differentiated or mapped over."""
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(b)
    return b.requires_grad or wrapped or forward_ad.unpack_dual(b).tangent is not None


def composite(x: Tensor, b: Tensor | None, settings: Settings) -> Tensor:
    """bias_act in torch operations.

    Args:
        x: any shape.
        b: (x.shape[settings.dim],) or None.
        settings: of the operation.

    Returns:
        Same shape and dtype as x.
    """
    y = ACTIVATIONS[settings.act].function(shifted(x, b, settings), settings.alpha)
    if settings.gain != 1:
        y = y * settings.gain
    return y if settings.clamp < 0 else y.clamp(-settings.clamp, settings.clamp)


def shifted(x: Tensor, b: Tensor | None, settings: Settings) -> Tensor:
    """x plus the bias along its axis.

    Args:
        x: any shape.
        b: (x.shape[settings.dim],), or None for x itself.
        settings: of the operation.

    Returns:
        Same shape and dtype as x.
    """
    return x if b is None else x + b.to(x.dtype).view([-1 if axis == settings.dim else 1 for axis in range(x.ndim)])


def derivative(x: Tensor, b: Tensor | None, settings: Settings, order: int) -> Tensor:
    """The derivative of some order in torch operations, element by element.

    Args:
        x: any shape, where it is taken.
        b: (x.shape[settings.dim],) or None.
        settings: of the operation.
        order: 0 is bias_act itself.

    Returns:
        Same shape as x.

    Example:
        >>> derivative(torch.tensor([-1.0, 1.0]), None, Settings(0, "lrelu", 0.2, 1.0, -1.0), 1)
        tensor([0.2000, 1.0000])
    """

    def of(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda z: torch.func.jvp(f, (z,), (torch.ones_like(z),))[1]

    f: Callable[[Tensor], Tensor] = lambda z: composite(z, b, settings)  # noqa: E731
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
    settings = Settings(dim, list(ACTIVATIONS)[act], alpha, gain, clamp)
    y = derivative(x, b, settings, int(t is not None))
    return y.clone() if t is None else y * t


@torch.library.register_fake("ice_lightning::bias_act")
def _fake(x: Tensor, b: Tensor | None, t: Tensor | None, *settings: Any) -> Tensor:
    return torch.empty_like(x)


class _Derivative(torch.autograd.Function):
    """The derivative of some order at x times t; order 0 is bias_act itself, and has no t.

    What jvp returns is made of such Functions alone: torch doesn't see other operations there when it differentiates
    forward a second time.
    """

    @staticmethod
    def forward(x: Tensor, b: Tensor | None, t: Tensor | None, settings: Settings, order: int) -> Tensor:
        if t is not None and order > 1:
            return derivative(x, b, settings, order) * t
        number = NUMBERS[settings.act]
        return torch.ops.ice_lightning.bias_act(
            x, b, t, settings.dim, number, settings.alpha, settings.gain, settings.clamp
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        *tensors, ctx.settings, ctx.order = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, _b: None, dt: Tensor | None, *_: None) -> Tensor | None:
        x, b, t = ctx.saved_tensors
        along = None if dt is None else _Derivative.apply(x, b, dt, ctx.settings, ctx.order)
        if dx is None or (ctx.order and ACTIVATIONS[ctx.settings.act].piecewise_linear):
            return torch.zeros_like(x) if along is None else along
        across = _Derivative.apply(x, b, dx if t is None else _Product.apply(t, dx), ctx.settings, ctx.order + 1)
        return across if along is None else _Sum.apply(along, across)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, None, Tensor | None, None, None]:
        x, b, t = ctx.saved_tensors
        gx = gt = None
        if ctx.needs_input_grad[0] and not (ctx.order and ACTIVATIONS[ctx.settings.act].piecewise_linear):
            gx = _Derivative.apply(x, b, g if t is None else g * t, ctx.settings, ctx.order + 1)
        if ctx.needs_input_grad[2]:
            gt = _Derivative.apply(x, b, g, ctx.settings, ctx.order)
        return gx, None, gt, None, None

    @staticmethod
    def vmap(
        info: Any, dims: tuple, x: Tensor, b: Tensor | None, t: Tensor | None, settings: Settings, order: int
    ) -> tuple[Tensor, int]:
        """The mapped axis stands in front of the others; nothing is mapped over b."""

        def front(each: Tensor, d: int | None) -> Tensor:
            return each.repeat(info.batch_size, *[1] * each.ndim) if d is None else each.movedim(d, 0)

        t = None if t is None else front(t, dims[2])
        return _Derivative.apply(front(x, dims[0]), b, t, settings._replace(dim=settings.dim + 1), order), 0


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

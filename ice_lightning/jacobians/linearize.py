"""The Jacobian of features at a latent: products with it, after one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from functools import cached_property

import torch
from torch import Tensor
from torch.func import jvp, vmap

from ice_lightning.checks import problem
from ice_lightning.parallel import Batch

Features = Callable[[Tensor], list[Tensor]]
"""(B, n) -> parts (B, m_i), each row on its own."""


class Jacobian:
    """The Jacobians J_i of the parts of a function at one latent, one above the other.

    J V takes forward mode where several products are taken at once, else J^T w is differentiated in w, in which it is
    linear: once its graph is there, that is one more backward pass per column.

    Args:
        f: (B, n) -> list of parts (B, m_i), or one of them, each row on its own.
        u: (1, n), where to differentiate.
        forward: whether f has a forward mode.
        batch: how many products at once; one by default.

    Attributes:
        parts: f(u), (1, m_i) each.
        sizes: m_i of every part.
        shape: (sum of m_i, n).
        like: a tensor of the operator's dtype and device.

    Raises:
        IceError: for anything but one latent.

    Example:
        >>> J = Jacobian(lambda u: [u.square(), u.sum(1, keepdim=True)], torch.tensor([[1.0, 3.0]]))
        >>> J.matmat(torch.eye(2)).tolist()
        [[2.0, 0.0], [0.0, 6.0], [1.0, 1.0]]
        >>> J.adjoint_of({1: torch.ones(1, 1)}).tolist()
        [[1.0], [1.0]]
    """

    def __init__(
        self,
        f: Callable[[Tensor], list[Tensor] | Tensor],
        u: Tensor,
        forward: bool = True,
        batch: Batch | None = None,
    ) -> None:
        if u.ndim != 2 or len(u) != 1:
            raise problem("one latent of shape (1, n)", tuple(u.shape), "pass one person at a time")
        self.f, self.u, self.forward, self.batch = _as_parts(f), u, forward, batch or Batch()
        self.at = u.detach().requires_grad_()
        with torch.enable_grad():
            self.parts = self.f(self.at)
        self.sizes = [part.shape[1] for part in self.parts]
        self.varied = [i for i, part in enumerate(self.parts) if part.requires_grad]
        self.shape, self.like = (sum(self.sizes), u.shape[1]), self.parts[0]
        self.numbers = list(range(len(self.parts)))
        self.whole: Jacobian | None = None  # of all parts, where this one is of some

    def matmat(self, V: Tensor) -> Tensor:
        """J V (m, k) for V (n, k)."""
        if not self.varied:
            return V.new_zeros(self.shape[0], V.shape[1])
        if self.batch.size > 1 and self.forward:
            return self.batch.over(vmap(self._forward_column, in_dims=1, out_dims=1), V)
        return Batch().over(self._backward_twice, V)

    def adjoint(self, Y: Tensor) -> Tensor:
        """J^T Y (n, k) for Y (m, k)."""
        return self.adjoint_of(dict(enumerate(self.split(Y))))

    def adjoint_of(self, Y: Mapping[int, Tensor]) -> Tensor:
        """The sum of J_i^T Y_i (n, k) over some parts, Y_i (m_i, k); others aren't differentiated."""
        k = next(iter(Y.values())).shape[1]
        some = [i for i in Y if i in self.varied]
        if not some or not k:
            return self.at.new_zeros(self.shape[1], k)

        def backward(y: Tensor) -> Tensor:
            several = y.shape[1] > 1
            columns = y.split([self.sizes[i] for i in some])
            grads = [each.T[:, None] if several else each.T for each in columns]
            outputs = [self.parts[i] for i in some]
            x = torch.autograd.grad(outputs, self.at, grads, retain_graph=True, is_grads_batched=several)[0]
            return x.reshape(-1, self.shape[1]).T

        return self.batch.over(backward, torch.cat([Y[i] for i in some]))

    def of(self, some: list[int]) -> Jacobian:
        """The Jacobian of some of the parts, by number, over the same graphs."""
        if some == list(range(len(self.parts))):
            return self
        part = copy(self)
        part.f = lambda u: [x for i, x in enumerate(self.f(u)) if i in some]
        part.parts = [self.parts[i] for i in some]
        part.sizes = [self.sizes[i] for i in some]
        part.varied = [i for i, each in enumerate(part.parts) if each.requires_grad]
        part.shape = sum(part.sizes), self.shape[1]
        part.numbers, part.whole = [self.numbers[i] for i in some], self.whole or self
        part.__dict__.pop("_transposed", None)
        return part

    def split(self, Y: Tensor) -> list[Tensor]:
        """Y (m, k) by parts, (m_i, k) each."""
        return list(Y.split(self.sizes))

    def _forward_column(self, v: Tensor) -> Tensor:
        return jvp(lambda x: torch.cat(self.f(x), 1), (self.u,), (v[None],))[1][0]

    def _backward_twice(self, v: Tensor) -> Tensor:
        ws, g = (self.whole or self)._transposed
        moved = torch.autograd.grad(g, [ws[self.numbers[i]] for i in self.varied], v.T, retain_graph=True)
        whole = [self.at.new_zeros(1, size) for size in self.sizes]
        for i, each in zip(self.varied, moved, strict=True):
            whole[i] = each
        return torch.cat(whole, 1).T

    @cached_property
    def _transposed(self) -> tuple[dict[int, Tensor], Tensor]:
        """Some w_i (1, m_i) by number, and sum_i J_i^T w_i with a graph that leads back to them."""
        ws = {i: torch.zeros_like(self.parts[i], requires_grad=True) for i in self.varied}
        with torch.enable_grad():
            outputs = [self.parts[i] for i in ws]
            return ws, torch.autograd.grad(outputs, self.at, list(ws.values()), create_graph=True)[0]


def _as_parts(f: Callable[[Tensor], list[Tensor] | Tensor]) -> Features:
    def parts(u: Tensor) -> list[Tensor]:
        found = f(u)
        return [found] if isinstance(found, Tensor) else found

    return parts


def graph_bytes(f: Features, u: Tensor) -> int:
    """What one forward pass keeps for its backward pass, in bytes.

    Args:
        f: see `Features`.
        u: (1, n), where.

    Returns:
        The sum over tensors, each storage once.
    """
    kept: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        f(u.detach().requires_grad_())
    return sum(kept.values())


ROUNDING = 1e-4
"""Two evaluations that differ by no more than this share of their norm are the same: on a GPU, transposed convolutions
and others add in any order."""


def check_repeatable(parts: list[Tensor], again: list[Tensor], rounding: float = ROUNDING) -> None:
    """Refuse features that can't be differentiated.

    Args:
        parts: one evaluation.
        again: a second one at the same latent.
        rounding: see `ROUNDING`.

    Raises:
        IceError: when they aren't finite, or differ (dropout, batch statistics, random noise).
    """
    bad = sum(int((~part.isfinite()).sum()) for part in parts)
    if bad:
        raise problem("finite features", f"{bad} NaN or infinite", "check the networks")
    if any(float((b - a).norm()) > rounding * float(a.norm()) for a, b in zip(parts, again, strict=True)):
        raise problem("a deterministic forward pass", "two different results", "use eval mode and constant noise")

"""Linear operators that solvers see: `matmat`, `adjoint`, `shape`, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.func import jvp, vmap

from ice_lightning.checks import problem


class LinearOperator(Protocol):
    """An (m, n) linear map."""

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""

    @property
    def like(self) -> Tensor:
        """A tensor of the operator's dtype and device."""

    def matmat(self, V: Tensor) -> Tensor:
        """(n, k) -> (m, k)."""

    def adjoint(self, Y: Tensor) -> Tensor:
        """(m, k) -> (n, k)."""


@dataclass(frozen=True)
class Dense:
    """A matrix as an operator.

    Attributes:
        matrix: (m, n).
    """

    matrix: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return self.matrix.shape[0], self.matrix.shape[1]

    @property
    def like(self) -> Tensor:
        """A tensor of the operator's dtype and device."""
        return self.matrix

    def matmat(self, V: Tensor) -> Tensor:
        """(n, k) -> (m, k)."""
        return self.matrix @ V

    def adjoint(self, Y: Tensor) -> Tensor:
        """(m, k) -> (n, k)."""
        return self.matrix.T @ Y


def pushforward(f: Callable[[Tensor], Tensor], u: Tensor, V: Tensor, forward: bool = True) -> Tensor:
    """J V (m, k) of f at u (1, n) for V (n, k): one batched forward-mode pass, or backward twice.

    Without a forward mode, J^T w is differentiated in w, in which it is linear.
    """
    if not forward:
        u = u.detach().requires_grad_()
        y = f(u)
        w = torch.zeros_like(y, requires_grad=True)
        g = torch.autograd.grad(y, u, w, create_graph=True)[0]
        columns = [torch.autograd.grad(g, w, v[None], retain_graph=True)[0][0] for v in V.T]
        return torch.stack(columns, 1)

    def along(v: Tensor) -> Tensor:
        return jvp(f, (u,), (v[None],))[1][0]

    return vmap(along, in_dims=1, out_dims=1)(V)


def pullback(f: Callable[[Tensor], list[Tensor]], u: Tensor) -> Callable[[int, Tensor], Tensor]:
    """Products with the transposed Jacobians of the parts (1, m_i) of f(u) at u (1, n), after one forward pass.

    One backward pass per column: as fast as batched ones on a CPU, and far smaller.

    Returns:
        (i, Y (m_i, k)) -> J_i^T Y (n, k).
    """
    u = u.detach().requires_grad_()
    parts = f(u)

    def pull(index: int, Y: Tensor) -> Tensor:
        columns = [torch.autograd.grad(parts[index], u, y[None], retain_graph=True)[0][0] for y in Y.T]
        return torch.stack(columns, 1) if columns else u.new_zeros(u.shape[1], 0)

    return pull


class Jacobian:
    """The Jacobian of `f` at one latent, by forward mode for columns and reverse mode for rows.

    Args:
        f: (B, n) -> (B, m), each row on its own.
        u: (1, n), where to differentiate.
        forward: whether f has a forward mode; without it, columns take two backward passes.

    Raises:
        IceError: when f(u) isn't finite, or two evaluations differ (dropout, batch statistics, random noise).
    """

    def __init__(self, f: Callable[[Tensor], Tensor], u: Tensor, forward: bool = True) -> None:
        if u.ndim != 2 or len(u) != 1:
            raise problem("one latent of shape (1, n)", tuple(u.shape), "pass one person at a time")
        self.f, self.u, self.like, self.forward = f, u, u, forward
        with torch.no_grad():
            y, again = f(u), f(u)
        if not y.isfinite().all():
            raise problem("finite features", f"{int((~y.isfinite()).sum())} NaN or infinite", "check the networks")
        if not torch.equal(y, again):
            raise problem("a deterministic forward pass", "two different results", "use eval mode and constant noise")
        self.shape = (y.shape[1], u.shape[1])

    def matmat(self, V: Tensor) -> Tensor:
        """(n, k) -> (m, k)."""
        return pushforward(self.f, self.u, V, self.forward)

    def adjoint(self, Y: Tensor) -> Tensor:
        """(m, k) -> (n, k)."""
        return pullback(lambda u: [self.f(u)], self.u)(0, Y)


@dataclass(frozen=True)
class _After:
    """J M for a symmetric map M of the latent, which a subclass gives as `apply`."""

    J: LinearOperator

    def apply(self, V: Tensor) -> Tensor:
        """M V for V (n, k)."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return self.J.shape

    @property
    def like(self) -> Tensor:
        """A tensor of the operator's dtype and device."""
        return self.J.like

    def matmat(self, V: Tensor) -> Tensor:
        """(n, k) -> (m, k)."""
        return self.J.matmat(self.apply(V))

    def adjoint(self, Y: Tensor) -> Tensor:
        """(m, k) -> (n, k)."""
        return self.apply(self.J.adjoint(Y))


@dataclass(frozen=True)
class Projected(_After):
    """J P with P = I - Q Q^T.

    Attributes:
        J: (m, n) operator.
        Q: (n, q) orthonormal columns; q may be 0.
    """

    Q: Tensor

    def apply(self, V: Tensor) -> Tensor:
        """P V for V (n, k)."""
        return remove(V, self.Q)


@dataclass(frozen=True)
class Whitened(_After):
    """J B^(-1/2) for B = W diag(shrink^-2) W^T + (I - W W^T).

    Attributes:
        J: (m, n) operator.
        W: (n, q) orthonormal columns.
        shrink: (q,), the eigenvalues of B^(-1/2) on W; it is 1 on everything else.
    """

    W: Tensor
    shrink: Tensor

    def apply(self, V: Tensor) -> Tensor:
        """B^(-1/2) V for V (n, k)."""
        W, shrink = self.W.to(V), self.shrink.to(V)
        return V + W @ ((shrink - 1)[:, None] * (W.T @ V))


def remove(V: Tensor, Q: Tensor) -> Tensor:
    """(I - Q Q^T) V for V (n, k) and Q (n, q) with orthonormal columns."""
    return V - Q @ (Q.T @ V)

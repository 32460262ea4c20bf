"""Linear operators that solvers see: `matmat`, `adjoint`, `shape`, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


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


@dataclass(frozen=True)
class Sum:
    """Operators one above the other, so that its J^T J is the weighted sum of theirs.

    Attributes:
        parts: (m_i, n) operators.
        weights: of their energies, above 0.
    """

    parts: Sequence[LinearOperator]
    weights: Sequence[float]

    @property
    def shape(self) -> tuple[int, int]:
        """(sum of m_i, n)."""
        return sum(J.shape[0] for J in self.parts), self.parts[0].shape[1]

    @property
    def like(self) -> Tensor:
        """A tensor of the operator's dtype and device."""
        return self.parts[0].like

    def matmat(self, V: Tensor) -> Tensor:
        """(n, k) -> (m, k)."""
        return torch.cat([J.matmat(V) * w**0.5 for J, w in zip(self.parts, self.weights, strict=True)])

    def adjoint(self, Y: Tensor) -> Tensor:
        """(m, k) -> (n, k)."""
        pieces = zip(self.parts, self.weights, Y.split([J.shape[0] for J in self.parts]), strict=True)
        return torch.stack([J.adjoint(y) * w**0.5 for J, w, y in pieces]).sum(0)


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

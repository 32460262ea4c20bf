"""Solvers: frozen settings in, an EigenResult out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy import linalg
from torch import Tensor

from ice_lightning.checks import at_least
from ice_lightning.jacobians.operators import LinearOperator


@dataclass(frozen=True)
class EigenResult:
    """Eigenpairs of J^T J, or of a mean of such.

    Attributes:
        values: (k,), descending, not negative.
        vectors: (n, k), orthonormal columns.
        residuals: (k,), norm of G v - value v over the largest value.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor


@dataclass(frozen=True)
class DenseSVD:
    """The whole spectrum from the dense (m, n) matrix, built from whichever is fewer of columns and rows.

    Attributes:
        chunk: products at a time.
    """

    chunk: int = 8

    def matrix(self, J: LinearOperator) -> Tensor:
        """The operator as a matrix (m, n) in double precision; the products keep the operator's own.

        Args:
            J: the operator.
        """
        at_least("solver.chunk", self.chunk, 1)
        m, n = J.shape
        columns, product = (n, J.matmat) if n < m else (m, J.adjoint)
        if not columns:
            return J.like.new_zeros(m, n)
        eye = torch.eye(columns, dtype=J.like.dtype, device=J.like.device)
        full = torch.cat([product(part) for part in eye.split(self.chunk, 1)], 1)
        full = full if n < m else full.T
        return full.double()

    def solve(self, J: LinearOperator) -> EigenResult:
        """Eigenpairs of J^T J."""
        A = self.matrix(J)
        _, s, Vh = svd(A)
        values, V = s.square(), Vh.T
        top = values[:1].clamp_min(torch.finfo(values.dtype).tiny)
        residuals = (A.T @ (A @ V) - V * values).norm(dim=0) / top
        return EigenResult(values, V, residuals)


def thin_factor(parts: list[Tensor]) -> Tensor:
    """A small R (r, n) with R^T R = sum of A^T A over the (m_i, n) matrices A: no zero rows, r <= 2 n.

    Not n, so that few rows at a time don't take a decomposition each.
    """
    A = torch.cat([part[part.abs().amax(1) > 0] for part in parts])
    return torch.linalg.qr(A, mode="r").R if A.shape[0] > 2 * A.shape[1] else A


def svd(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (m, r), s (r,) descending and V^T (r, n) of A (m, n), r the smaller side.

    LAPACK's fast routine gives up on some matrices of many equal singular values; a slower one doesn't.
    """
    try:
        U, s, Vh = torch.linalg.svd(A, full_matrices=False)
    except torch.linalg.LinAlgError:
        U, s, Vh = (torch.from_numpy(x).to(A) for x in linalg.svd(A.cpu().numpy(), False, lapack_driver="gesvd"))
    return U, s, Vh


SMALL = 1500
"""Up to so many rows or columns a matrix is decomposed whole."""


def strong(R: Tensor, share: float) -> Tensor:
    """(n, k) eigenvectors of R^T R for R (r, n) with at least `share` of the largest eigenvalue.

    Of a large matrix these are Ritz vectors in a block Krylov space (Musco & Musco 2015) that begins with random
    vectors and grows until the smallest of them has a tenth of that share.
    """
    if min(R.shape) <= SMALL:
        _, s, Vh = svd(R)
    else:
        draw, block = torch.Generator().manual_seed(0), 32
        Q = W = torch.linalg.qr(torch.randn(R.shape[1], block, generator=draw, dtype=R.dtype).to(R.device)).Q
        while True:
            W = R.T @ (R @ W)
            for _ in range(2):
                W = torch.linalg.qr(W - Q @ (Q.T @ W)).Q
            Q = torch.cat([Q, W], 1)
            _, s, Y = svd(R @ Q)
            enough = Q.shape[1] >= 6 * block and s[len(s) - block] ** 2 < share / 10 * s[0] ** 2
            if enough or Q.shape[1] + block > min(R.shape):
                break
        Vh = Y @ Q.T
    values = s.square()
    return Vh[(values >= share * values[:1]) & (values > 0)].T


def root(H: Tensor) -> Tensor:
    """F (d, d) with F^T F = H, for a symmetric H (d, d) whose negative eigenvalues are rounding."""
    values, U = torch.linalg.eigh((H + H.T) / 2)
    return values.clamp_min(0).sqrt()[:, None] * U.T

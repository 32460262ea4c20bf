"""Inner products that a search works in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ice_lightning.solvers.dense import strong_enough, svd


@dataclass(frozen=True)
class InnerProduct:
    """B = I + M^T M with few rows, from estimates of the suppressed terms: what a direction is charged under `soft`.

    Attributes:
        M: (p, n).
    """

    M: Tensor

    @cached_property
    def inner(self) -> Tensor:
        """(p, p), the Cholesky factor of I + M M^T."""
        eye = torch.eye(len(self.M), dtype=self.M.dtype, device=self.M.device)
        return torch.linalg.cholesky(eye + self.M @ self.M.T)

    def inverse(self, V: Tensor) -> Tensor:
        """B^-1 V for V (n, b), by the Woodbury identity."""
        return V - self.M.T @ torch.cholesky_solve(self.M @ V, self.inner)

    def embed(self, V: Tensor) -> Tensor:
        """(n + p, b), whose ordinary inner products are those of V (n, b) in B."""
        return torch.cat([V, self.M @ V])

    def orthonormal(self, W: Tensor, D: Tensor) -> Tensor:
        """W (n, b) made orthonormal in B and orthogonal to D (n, d), which is; columns in its span are dropped."""
        for _ in range(2):
            W = W / self.embed(W).norm(dim=0).clamp_min(1e-300)
            W = W - D @ (self.embed(D).T @ self.embed(W))
            _, s, Vh = svd(self.embed(W))
            keep = s > 1e-6
            W = W @ (Vh.T[:, keep] / s[keep])
        return W


def strongest(R: Tensor, B: InnerProduct, share: float, most: int | None = None) -> tuple[Tensor, Tensor]:
    """The strongest eigenpairs of the pencil (R^T R, B).

    Args:
        R: (r, n).
        B: the inner product.
        share: of the largest value that others have at least, in (0, 1].
        most: how many pairs at most; None for all.

    Returns:
        values (k,), descending; vectors (n, k), orthonormal in B.
    """
    BR = B.inverse(R.T)
    values, Y = torch.linalg.eigh(R @ BR)
    values, Y = values.flip(0), Y.flip(1)
    k = int(strong_enough(values, share).sum())
    values, Y = values[:k][:most], Y[:, :k][:, :most]
    return values, BR @ (Y / values.sqrt())


def ritz_pairs(H_A: Tensor, H_B: Tensor, share: float, most: int | None) -> tuple[Tensor, Tensor]:
    """The strongest eigenpairs of a dense pencil, by a Cholesky factor of the second matrix.

    Args:
        H_A: (d, d), symmetric.
        H_B: (d, d), symmetric and positive definite.
        share: see `strongest`, as is most; 0 for all positive ones.
        most: see there.

    Returns:
        values (k,), descending; vectors (d, k), orthonormal in H_B.

    Example:
        >>> H_A, H_B = torch.diag(torch.tensor([1.0, 8.0])), torch.diag(torch.tensor([1.0, 4.0]))
        >>> values, X = ritz_pairs(H_A, H_B, 0.1, None)
        >>> values.tolist()
        [2.0, 1.0]
    """
    L = torch.linalg.cholesky((H_B + H_B.T) / 2)
    half = torch.linalg.solve_triangular(L, H_A, upper=False)
    whole = torch.linalg.solve_triangular(L, half.T, upper=False)
    values, Y = torch.linalg.eigh((whole + whole.T) / 2)
    values, Y = values.flip(0), Y.flip(1)
    k = int(strong_enough(values, share).sum())
    X = torch.linalg.solve_triangular(L.T, Y[:, :k], upper=True)
    return values[:k][:most], X[:, :most]

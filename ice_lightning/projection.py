"""The algebra of DESIGN section 1 on eigenpairs: which directions are bad, and what is left without them."""

from __future__ import annotations

import torch
from torch import Tensor

from ice_lightning.checks import problem, ratio
from ice_lightning.operators import LinearOperator, Projected
from ice_lightning.solvers import EigenResult, Exact


def kept(result: EigenResult, share: float) -> Tensor:
    """(n, k) eigenvectors whose value is at least `share` of the largest; none when all values are 0."""
    ratio("a ratio", share)
    top = result.values[:1].sum()
    return result.vectors[:, (result.values >= share * top) & (result.values > 0)]


def union(bases: list[Tensor], n: int) -> Tensor:
    """Orthonormal basis (n, q) of the sum of the spans of (n, k_i) orthonormal bases."""
    bases = [basis for basis in bases if basis.shape[1]]
    if not bases:
        return torch.zeros(n, 0, dtype=torch.float64)
    stacked = torch.cat(bases, 1)
    U, s, _ = torch.linalg.svd(stacked, full_matrices=False)
    return U[:, s > 1e-7 * s[0] if stacked.dtype == torch.float64 else s > 1e-4 * s[0]]


def fix_signs(V: Tensor) -> Tensor:
    """Each column with its entry of largest magnitude positive, so that two runs agree."""
    if not V.shape[1]:
        return V
    largest = V.gather(0, V.abs().argmax(0, keepdim=True))
    return V * torch.where(largest < 0, -1, 1).to(V.dtype)


def early(A: LinearOperator, Q: Tensor, activate_ratio: float, solver: Exact) -> EigenResult:
    """Eigenpairs of P A^T A P above `activate_ratio` of its largest eigenvalue, P = I - Q Q^T.

    Args:
        A: (m, n), the activated term's factor.
        Q: (n, q) orthonormal, the bad directions.
        activate_ratio: in (0, 1].
        solver: how to find eigenpairs.

    Returns:
        k pairs, signs fixed; vectors orthogonal to Q. The whole spectra with and without the projection are in
        stats["projected"] and stats["unprojected"].

    Raises:
        IceError: when the suppressed terms leave nothing.
    """
    ratio("activate_ratio", activate_ratio)
    free = solver.solve(A)
    result = solver.solve(Projected(A, Q.to(A.like)))
    if not free.values.sum() > 0:
        raise problem("activated terms with some energy", "none at all", "check region, size and space")
    if result.values[0] < 1e-10 * free.values[0]:
        raise problem(
            "suppressed terms that leave a direction free",
            f"{Q.shape[1]} suppressed directions of {Q.shape[0]} that cover all activated ones",
            "raise the ratios of the suppressed terms",
        )
    keep = result.values >= activate_ratio * result.values[0]
    V = fix_signs(result.vectors[:, keep])
    stats = result.stats | {"unprojected": free.values, "projected": result.values}
    return EigenResult(result.values[keep], V, result.residuals[keep], stats)

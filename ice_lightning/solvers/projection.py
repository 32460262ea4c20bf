"""The algebra of DESIGN section 1 on eigenpairs: which directions are bad, and what is left without them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.checks import problem, ratio
from ice_lightning.jacobians.operators import Dense, LinearOperator, Projected, Whitened, remove
from ice_lightning.solvers.dense import DenseSVD, EigenResult, svd


@dataclass(frozen=True)
class ProjectedResult(EigenResult):
    """Eigenpairs of which suppressed directions were kept out.

    Attributes:
        unprojected: the whole spectrum of the activated terms, descending.
        projected: the same after the projection, of which `values` are those above the ratio.
        suppressed_rank: how many directions were projected out; 0 under soft.
    """

    unprojected: Tensor
    projected: Tensor
    suppressed_rank: int = 0


class SuppressedSpectrum(NamedTuple):
    """A suppressed term: its spectrum, and the share of its largest eigenvalue from which a direction is bad."""

    spectrum: EigenResult
    ratio: float


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
    U, s, _ = svd(stacked)
    return U[:, s > 1e-7 * s[0] if stacked.dtype == torch.float64 else s > 1e-4 * s[0]]


def suppressed_basis(bad: Collection[SuppressedSpectrum], n: int) -> Tensor:
    """(n, q) orthonormal basis of everything that the terms call bad."""
    return union([kept(*each) for each in bad], n)


def fix_signs(V: Tensor) -> Tensor:
    """Each column with its entry of largest magnitude positive, so that two runs agree."""
    if not V.shape[1]:
        return V
    largest = V.gather(0, V.abs().argmax(0, keepdim=True))
    return V * torch.where(largest < 0, -1, 1).to(V.dtype)


LEFT = 1e-3
"""Late terms leave nothing of a direction of length 1 where less than this length is left that the earlier ones don't
have: what is shorter is mostly an error, made as long as a direction."""


def orthogonalised(V: Tensor) -> tuple[Tensor, Tensor]:
    """Gram-Schmidt, twice, in the order of the columns (n, k).

    Returns:
        Q (n, k'), orthonormal, without the columns of which less than `LEFT` is left; and what is left of each (k,).
    """
    Q, left = V[:, :0], V.new_zeros(V.shape[1])
    for i, v in enumerate(V.T):
        rest = remove(remove(v[:, None], Q), Q)
        left[i] = rest.norm()
        if left[i] >= LEFT:
            rest = rest / left[i]
            rest = remove(rest, Q)  # which a short rest needs again
            Q = torch.cat([Q, rest / rest.norm()], 1)
    return Q, left


def solved(A: LinearOperator, solver: DenseSVD) -> EigenResult:
    """All eigenpairs of A^T A; raises IceError when they are 0."""
    result = solver.solve(A)
    if not result.values.sum() > 0:
        raise problem("activated terms with some energy", "none at all", "check region, size and space")
    return result


def _something_left(values: Tensor, free: Tensor, Q: Tensor) -> None:
    """Raise IceError when what Q leaves of the activated energies is nothing."""
    if not len(values) or values[0] < 1e-10 * free[0]:
        raise problem(
            "suppressed terms that leave a direction free",
            f"{Q.shape[1]} suppressed directions of {Q.shape[0]} that cover all activated ones",
            "raise the ratios of the suppressed terms",
        )


def early(A: LinearOperator, Q: Tensor, activate_ratio: float, solver: DenseSVD) -> ProjectedResult:
    """Eigenpairs of P A^T A P above `activate_ratio` of its largest eigenvalue, P = I - Q Q^T.

    Args:
        A: (m, n), the activated terms' factor.
        Q: (n, q) orthonormal, the bad directions.
        activate_ratio: in (0, 1].
        solver: how to find eigenpairs.

    Returns:
        k pairs, signs fixed; vectors orthonormal and orthogonal to Q.

    Raises:
        IceError: when the suppressed terms leave nothing, or nothing is activated.
    """
    ratio("activate_ratio", activate_ratio)
    free = solved(A, solver)
    result = solver.solve(Projected(A, Q.to(A.like)))
    _something_left(result.values, free.values, Q)
    return _cut(result, result.vectors, activate_ratio, free.values)


def late(A: LinearOperator, Q: Tensor, activate_ratio: float, solver: DenseSVD) -> ProjectedResult:
    """Eigenvectors v of A^T A above the ratio, then P v, orthogonalised in that order and normalised by column.

    Where less than `LEFT` of a column remains, as where the suppressed terms cover several eigenvectors together, it is
    dropped. The values are the energies v^T A^T A v of what is left, descending. (The released code of Li et al. 2022
    normalises along the wrong axis, over directions instead of over coordinates.) Arguments and errors as in `early`;
    vectors orthonormal and orthogonal to Q.
    """
    return _late(A, solved(A, solver), Q, activate_ratio)


def _late(A: LinearOperator, result: EigenResult, Q: Tensor, activate_ratio: float) -> ProjectedResult:
    ratio("activate_ratio", activate_ratio)
    Q = Q.to(result.vectors)
    V, _ = orthogonalised(remove(kept(result, activate_ratio), Q))
    AV = A.matmat(V.to(A.like)).to(V)
    values, order = AV.square().sum(0).sort(descending=True, stable=True)
    V, AV = fix_signs(V[:, order]), AV[:, order]
    _something_left(values, result.values, Q)
    G_V = remove(A.adjoint(A.matmat(V.to(A.like))).to(V), Q)
    residuals = (G_V - V * values).norm(dim=0) / values[0]
    return ProjectedResult(values, V, residuals, unprojected=result.values, projected=values)


def mixed(A: LinearOperator, Q_early: Tensor, Q: Tensor, activate_ratio: float, solver: DenseSVD) -> ProjectedResult:
    """Some terms early, others late: eigenpairs of P_early A^T A P_early, then `late` with all bad directions Q.

    Args:
        A: (m, n), the activated terms' factor.
        Q_early: (n, q), bad directions of the terms that are projected out first.
        Q: (n, q'), those of all terms, so that the late step doesn't bring the early ones back.
        activate_ratio: in (0, 1].
        solver: how to find eigenpairs.
    """
    free = solved(A, solver)
    first = Projected(A, Q_early.to(A.like))
    result = solver.solve(first)
    _something_left(result.values, free.values, Q_early)
    return replace(_late(first, result, Q, activate_ratio), unprojected=free.values)


def soft(
    A: LinearOperator, bad: Collection[SuppressedSpectrum], activate_ratio: float, solver: DenseSVD
) -> ProjectedResult:
    """Eigenpairs of the pencil (A^T A, B), B = I + sum_i S_i / (r_i lambda_max(S_i)), above the ratio.

    No direction is cut off; each pays for what it moves. Found through x = B^(-1/2) y with B's thin spectrum.

    Returns:
        k pairs; vectors of unit length but not orthogonal, orthogonal in B instead; values are those of the pencil.
    """
    ratio("activate_ratio", activate_ratio)
    for each in bad:
        ratio("a ratio", each.ratio)
    free = solved(A, solver)
    rows = [
        spectrum.vectors.T * (spectrum.values / (r * spectrum.values[0])).sqrt()[:, None]
        for spectrum, r in bad
        if len(spectrum.values) and spectrum.values[0] > 0
    ]
    if not rows:
        return _cut(free, free.vectors, activate_ratio, free.values)
    penalty = solver.solve(Dense(torch.cat(rows)))
    root = Whitened(A, penalty.vectors, (1 + penalty.values).rsqrt())
    result = solver.solve(root)
    X = root.apply(result.vectors)
    return _cut(result, X / X.norm(dim=0).clamp_min(1e-300), activate_ratio, free.values)


def _cut(result: EigenResult, V: Tensor, activate_ratio: float, free: Tensor) -> ProjectedResult:
    keep = result.values >= activate_ratio * result.values[0]
    return ProjectedResult(
        result.values[keep],
        fix_signs(V[:, keep]),
        result.residuals[keep],
        unprojected=free,
        projected=result.values,
    )


def project(
    A: LinearOperator,
    bad: Mapping[str, SuppressedSpectrum],
    projection: str,
    late_names: Collection[str],
    activate_ratio: float,
    solver: DenseSVD,
    rank: int | None = None,
) -> ProjectedResult:
    """What A activates and the bad terms don't, by one of the four projections, at most `rank` directions.

    Args:
        A: (m, n), the activated terms' factor.
        bad: suppressed terms by name.
        projection: early, late, soft or mixed.
        late_names: with mixed, which of them are projected out late.
        activate_ratio: in (0, 1].
        solver: how to find eigenpairs.
        rank: the cap; None for none.

    Returns:
        k pairs.
    """
    n = A.shape[1]
    removed = 0
    if projection == "soft":
        result = soft(A, list(bad.values()), activate_ratio, solver)
    else:
        Q = suppressed_basis(bad.values(), n)
        removed = Q.shape[1]
        if projection == "early":
            result = early(A, Q, activate_ratio, solver)
        elif projection == "late":
            result = late(A, Q, activate_ratio, solver)
        else:
            Q_early = suppressed_basis([each for name, each in bad.items() if name not in late_names], n)
            result = mixed(A, Q_early, Q, activate_ratio, solver)
    return replace(
        result,
        values=result.values[:rank],
        vectors=result.vectors[:, :rank],
        residuals=result.residuals[:rank],
        suppressed_rank=removed,
    )

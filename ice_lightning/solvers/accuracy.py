"""How small residuals have to be for an angle, and how far estimates are off."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

ALONE = 0.1
"""An eigenvalue stands alone where the next one is lower by this share of it."""

ANGLE = 0.3
"""The sine of the first direction's angle to the exact one, where it stands alone, as a share of the tolerance."""


def first_bar(gap: float) -> float:
    """The share of the tolerance that the first pair's residual may have, so that its angle is `ANGLE` of that.

    An eigenvector is off by its residual over the gap to other eigenvalues at most (Davis & Kahan 1970), both relative
    to its own; nothing is asked of one that doesn't stand alone.
    """
    return ANGLE * gap if gap >= ALONE else 1.0


def trace_error(rows: Sequence[Tensor], weights: Sequence[float], random: Sequence[int]) -> float:
    """The standard error of sum_i w_i |R_i|^2 as an estimate of a trace, for people who are alike.

    With N normal combinations of the rows of J each |R|^2 has the variance 2 tr((J^T J)^2) / N, and |R R^T|^2 has the
    mean (1 + 1 / N) tr((J^T J)^2) + tr(J^T J)^2 / N.

    Args:
        rows: (r_i, n), with Gram matrices that estimate energies.
        weights: of these.
        random: from how many random rows in all; 0 for exact ones.
    """
    variance = 0.0
    for R, w, count in zip(rows, weights, random, strict=True):
        if count:
            squared = float((R @ R.T if len(R) < R.shape[1] else R.T @ R).square().sum())
            trace = (squared - float(R.square().sum()) ** 2 / count) / (1 + 1 / count)
            variance += w**2 * 2 * max(0.0, trace) / count
    return float(variance**0.5)

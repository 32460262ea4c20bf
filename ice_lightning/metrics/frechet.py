"""Distances between the features of originals and of counterfactuals, as Gaussians (FID, sFID)."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from ice_lightning.metrics.moments import gaussian, moments


class Frechet(Metric):
    """FID and sFID over a feature network of one's own, originals against valid counterfactuals.

    FID (Heusel et al. 2017) compares Gaussians fitted to features. It is small already because x' keeps most of x; sFID
    (ACE, Jeanneret et al. 2023) compares one half's originals with the other's counterfactuals, and averages both ways.
    People of even and of odd numbers are the halves (ACE shuffles).

    Under "own" the originals are those of the people who flipped; under "ace" everyone's, as in compute_FID.sh and
    compute_sFID.sh.

    Args:
        features: length of a feature vector.
        convention: out of CONVENTIONS.

    Attributes:
        originals: `moments` of the features of each half, (2, d + 1, d + 1).
        others: of their counterfactuals.

    Example:
        >>> features = torch.tensor([[0.0], [0.0], [2.0], [2.0]])
        >>> distance = Frechet(features=1)
        >>> distance.update(features, features + 3, torch.arange(4), torch.ones(4, dtype=torch.bool))  # 3 squared is 9
        >>> {name: round(float(value), 6) for name, value in distance.compute().items()}
        {'fid': 9.0, 'sfid': 9.0}
    """

    full_state_update = False
    originals: Tensor
    others: Tensor

    def __init__(self, features: int, convention: str = "own") -> None:
        super().__init__()
        self.facts = {"convention": convention}
        self.over = "counterfactuals of the flipped, originals of all" if convention == "ace" else "flipped"
        for name in ("originals", "others"):
            self.add_state(name, torch.zeros(2, features + 1, features + 1, dtype=torch.float64), "sum")

    def update(self, features: Tensor, other: Tensor, number: Tensor, flipped: Tensor) -> None:
        """Add features (N, d) of x and of x', and the people's numbers (N,)."""
        kept = torch.ones_like(flipped) if self.facts["convention"] == "ace" else flipped
        for half in (0, 1):
            here = number % 2 == half
            self.originals[half] += moments(features.double()[kept & here])
            self.others[half] += moments(other.double()[flipped & here])

    @property
    def count(self) -> Tensor:
        """How many flipped."""
        return self.others[:, -1, -1].sum()

    def compute(self) -> dict[str, Tensor]:
        """{"fid": (), "sfid": ()}; NaN unless each half has two people."""
        if min(self.originals[:, -1, -1].min(), self.others[:, -1, -1].min()) < 2:
            nothing = torch.tensor(torch.nan, dtype=torch.float64)
            return {"fid": nothing, "sfid": nothing}
        a, b = self.originals, self.others
        crossed = frechet(gaussian(a[0]), gaussian(b[1])) + frechet(gaussian(a[1]), gaussian(b[0]))
        return {"fid": frechet(gaussian(a.sum(0)), gaussian(b.sum(0))), "sfid": crossed / 2}


def frechet(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    """Squared Frechet distance of two Gaussians (Dowson & Landau 1982; FID, Heusel et al. 2017).

    The trace of the root of A B is the nuclear norm of root(A) root(B), which stays real where A and B are singular.

    Args:
        a: mean (d,) and covariance (d, d).
        b: of the other.

    Returns:
        (), in squared units of the features.

    Example:
        >>> I = torch.eye(2, dtype=torch.float64)
        >>> round(float(frechet((torch.zeros(2), I), (torch.tensor([3.0, 4.0]), 4 * I))), 6)
        27.0
    """
    (mean, A), (other, B) = a, b
    common = torch.linalg.svdvals(root(A) @ root(B)).sum()
    return (mean - other).square().sum() + A.trace() + B.trace() - 2 * common


def root(C: Tensor) -> Tensor:
    """The symmetric root of a positive semidefinite C (d, d).

    >>> root(torch.diag(torch.tensor([4.0, 9.0])))
    tensor([[2., 0.],
            [0., 3.]])
    """
    values, V = torch.linalg.eigh(C)
    return (V * values.clamp_min(0).sqrt()) @ V.T

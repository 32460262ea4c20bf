"""Sums of products, which add up over processes, and what follows from them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def moments(x: Tensor) -> Tensor:
    """Sums of products of the columns of x (N, d), and of a column of ones: (d + 1, d + 1).

    >>> moments(torch.tensor([[1.0], [3.0]]))
    tensor([[10.,  4.],
            [ 4.,  2.]])
    """
    with_one = F.pad(x, (0, 1), value=1.0)
    return with_one.T @ with_one


def gaussian(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d), unbiased, of two rows or more, from `moments`.

    >>> mean, covariance = gaussian(moments(torch.tensor([[1.0], [3.0]])))
    >>> float(mean), float(covariance)
    (2.0, 2.0)
    """
    n, mean = moments[-1, -1], moments[-1, :-1] / moments[-1, -1]
    return mean, (moments[:-1, :-1] - n * mean[:, None] * mean) / (n - 1)


def correlations(moments: Tensor) -> Tensor:
    """corr(column 0, every column) (A,) from `moments` (A + 1, A + 1); NaN where either is constant up to rounding.

    >>> correlations(moments(torch.tensor([[1.0, 5.0], [2.0, 4.0], [3.0, 3.0]], dtype=torch.float64))).round(decimals=6)
    tensor([ 1., -1.], dtype=torch.float64)
    """
    mean = moments[-1, :-1] / moments[-1, -1]
    square = moments[:-1, :-1] / moments[-1, -1]
    covariance = square - mean[:, None] * mean
    variance = covariance.diagonal()
    constant = variance <= 1e-12 * square.diagonal()
    deviation = torch.where(constant, torch.nan, variance.clamp_min(0)).sqrt()
    return covariance[0] / (deviation[0] * deviation)

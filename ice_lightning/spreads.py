"""Directions in units of the population's own deviation along each."""

from __future__ import annotations

import torch
from torch import Tensor

POPULATION = 512
"""People whose deviation along a direction is the unit of an edit."""


def deviations(U: Tensor) -> Tensor:
    """Standard deviation of each coordinate of a population (N, n), (n,); the smallest other where one doesn't vary."""
    std = U.std(0)
    return torch.where(std > 0, std, std[std > 0].min() if (std > 0).any() else torch.ones(()).to(U))


def named(directions: Tensor, U: Tensor) -> Tensor:
    """Directions (n, k), each as long as one standard deviation of a population (N, n) along it."""
    V = directions.to(U)
    return V * deviations(U @ V)

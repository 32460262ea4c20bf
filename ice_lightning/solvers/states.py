"""The states that a search passes through under every projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from ice_lightning.solvers.problem import Query

Span = TypeVar("Span")
"""What is known in the span of the directions so far, which differs between soft and hard projection."""


@dataclass(frozen=True)
class Sketching:
    """Rows of terms with few features, and random rows of the others, are asked for.

    Attributes:
        query: see Query.
    """

    query: Query


@dataclass(frozen=True)
class Chasing(Generic[Span]):
    """Products with residuals are asked for, until those of all pairs are small.

    Attributes:
        query: the energies times a block of new directions.
        span: before these.
        num_residuals: how many directions of the block are residuals, before these were made orthonormal.
        num_probes: how many of its last columns are probes.
    """

    query: Query
    span: Span
    num_residuals: int
    num_probes: int

"""What a search for a subspace asks of a set of people, and what it is told.

A search is a Python generator: it yields what it wants summed over all people (`Query`), is sent the sums of disjoint
groups of them (`Reply`), and returns what it `Found`. Whoever drives it decides how: Lightning by one epoch per ask, a
test by dense matrices. All that a search keeps follows from the sums that it was sent, so that sending them again
resumes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.solvers.dense import thin_factor

WHOLE = 6000
"""Up to so many coordinates whole Jacobians are taken, and dense matrices of as many columns decomposed."""

FEW = 48
"""Up to so many features a term is asked for row by row."""

ALONE = 0.1
"""An eigenvalue stands alone where the next one is lower by this share of it."""

ANGLE = 0.3
"""The sine of the first direction's angle to the exact one, where it stands alone, as a share of the tolerance."""

VERSION = 2
"""Of what searches ask for: answers to another one's questions are of no use to resume from."""

Weights = tuple[float, ...]
"""One per term: w stands for the energy sum_i w_i J_i^T J_i."""


class Problem(NamedTuple):
    """A criterion as the search sees it: terms by number, the activated ones first.

    Attributes:
        n: coordinates that may move.
        weights: of the activated terms.
        ratios: of the suppressed terms, by name.
        projection: early, late, soft or mixed.
        late: with mixed, which suppressed terms are projected out late.
        activate_ratio: see projection.project.
        rank: the cap, None for none.
        sizes: how many features each term has, None where that depends on the person.
        people: how many there are.
    """

    n: int
    weights: tuple[float, ...]
    ratios: Mapping[str, float]
    projection: str
    late: tuple[str, ...]
    activate_ratio: float
    rank: int | None
    sizes: tuple[int | None, ...]
    people: int

    def only(self, weights: Mapping[int, float]) -> Weights:
        """Of some terms; the others count nothing."""
        return tuple(weights.get(i, 0.0) for i in range(len(self.sizes)))

    def few(self) -> list[int]:
        """Terms that are cheaper row by row than by products."""
        return [i for i, size in enumerate(self.sizes) if size is not None and size <= FEW]

    def rows_each(self, most: int) -> int:
        """How many random rows per person make a good estimate of an energy: a fifth more than coordinates in all."""
        return min(most, max(4, -(-6 * self.n // (5 * self.people))))


class FactorQuery(NamedTuple):
    """Wanted: R with R^T R equal to an energy, or to an estimate of it.

    Attributes:
        weights: which energy; all 0 give no rows.
        random: so many random combinations of the rows of each person; None for the rows themselves.
    """

    weights: Weights
    random: int | None = None


class ProductQuery(NamedTuple):
    """Wanted: an energy times a few vectors.

    Attributes:
        weights: which energy.
        V: (n, b).
    """

    weights: Weights
    V: Tensor


class Query(NamedTuple):
    """What is wanted of every person next, averaged over people.

    Attributes:
        rows: factors.
        products: where several have the same V, its forward products are taken once.
        grams: Q (n, b), or None; Q^T J_i^T J_i Q of every term.
        residual: the largest of a wanted pair so far, relative to its eigenvalue; None before there are any.
    """

    rows: tuple[FactorQuery, ...] = ()
    products: tuple[ProductQuery, ...] = ()
    grams: Tensor | None = None
    residual: float | None = None


class Reply(NamedTuple):
    """The answer to a Query for a group of people.

    Attributes:
        people: how many.
        rows: (r, n) per Rows.
        products: (n, b) per Products.
        grams: (b, b) per term, where asked.
        spent: products with a Jacobian or its transpose that the Query took per person.
    """

    people: int
    rows: list[Tensor]
    products: list[Tensor]
    grams: list[Tensor]
    spent: int


def together(groups: Sequence[Reply]) -> Reply:
    """The answer of several groups for all of their people."""
    people = sum(group.people for group in groups)
    shares = [group.people / people for group in groups]

    def mean(parts: tuple[Tensor, ...]) -> Tensor:
        return torch.stack([part * share for part, share in zip(parts, shares, strict=True)]).sum(0)

    rows = [
        thin_factor([R * share**0.5 for R, share in zip(parts, shares, strict=True)])
        for parts in zip(*(group.rows for group in groups), strict=True)
    ]
    products = [mean(parts) for parts in zip(*(group.products for group in groups), strict=True)]
    grams = [mean(parts) for parts in zip(*(group.grams for group in groups), strict=True)]
    return groups[0]._replace(people=people, rows=rows, products=products, grams=grams)


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

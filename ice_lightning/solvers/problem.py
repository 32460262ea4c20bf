"""What a search for a subspace is given, what it asks of a set of people, and what it is answered.

A search is a state: `solver.init(problem)` gives the first, `solver.step(problem, state, replies)` the one after the
answers to `state.query`, and one that has a `Solution` asks for nothing more. Whoever drives it decides how the
answers are computed: Lightning by one epoch per query, a test by dense matrices. A state is data: it can be looked at,
copied, saved and gone on from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.solvers.dense import thin_factor

WHOLE = 6000
"""Up to so many coordinates whole Jacobians are taken, and dense matrices of as many columns decomposed."""

SMALL_TERM = 48
"""Up to so many features a term is asked for row by row."""

WANTED = -1
"""The number of activated terms, where they are taken together."""

VERSION = 4
"""Of what searches ask for and of their states: a checkpoint of another one is of no use to go on from."""

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
        """The energy of some terms, by number; the others count nothing."""
        return tuple(weights.get(i, 0.0) for i in range(len(self.sizes)))

    @property
    def activated(self) -> dict[int, float]:
        """The weights of the activated terms, by number."""
        return dict(enumerate(self.weights))

    @property
    def suppressed(self) -> dict[int, float]:
        """The ratios of the suppressed terms, by number."""
        return dict(enumerate(self.ratios.values(), len(self.weights)))

    @property
    def small_terms(self) -> list[int]:
        """Terms that are cheaper row by row than by products."""
        return [i for i, size in enumerate(self.sizes) if size is not None and size <= SMALL_TERM]

    def sketch_rows(self, most: int) -> int:
        """How many random rows per person make a good estimate of an energy: a fifth more than coordinates in all."""
        return min(most, max(4, -(-6 * self.n // (5 * self.people))))


class Limits(NamedTuple):
    """How far a search goes: the settings of `BlockKrylov` that its steps look at.

    Attributes:
        rows: at most so many random rows per person in an estimate.
        tolerance: largest residual of a kept direction, relative to its eigenvalue.
        passes: at most so many over the people.
    """

    rows: int
    tolerance: float
    passes: int


class FactorQuery(NamedTuple):
    """Wanted: R with R^T R equal to an energy, or to an estimate of it.

    Attributes:
        weights: which energy; all 0 give no rows.
        random: so many random combinations of the rows of each person; None for the rows themselves.
    """

    weights: Weights
    random: int | None = None


class ProductQuery(NamedTuple):
    """Wanted: energies times a few vectors, whose forward products J_i V are taken once for all of them.

    Attributes:
        V: (n, b).
        energies: which.
        grams: V^T J_i^T J_i V of every term as well; one query at most asks for them.
    """

    V: Tensor
    energies: tuple[Weights, ...] = ()
    grams: bool = False


class Query(NamedTuple):
    """What is wanted of every person next, averaged over people.

    Attributes:
        rows: factors.
        products: energies times vectors.
        residual: the largest of a wanted pair so far, relative to its eigenvalue; None before there are any.
    """

    rows: tuple[FactorQuery, ...] = ()
    products: tuple[ProductQuery, ...] = ()
    residual: float | None = None


class Reply(NamedTuple):
    """The answer to a Query for a group of people.

    Attributes:
        people: how many.
        rows: (r, n) per FactorQuery.
        products: (n, b) per energy of each ProductQuery, one query after the other.
        grams: (b, b) per term, where asked.
        num_products: products with a Jacobian or its transpose that the Query took per person.
    """

    people: int
    rows: list[Tensor]
    products: list[Tensor]
    grams: list[Tensor]
    num_products: int


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


class Cost(NamedTuple):
    """What a search has taken so far.

    Attributes:
        passes: over the people.
        products: with a Jacobian or its transpose, per person.
    """

    passes: int = 0
    products: int = 0

    def after(self, replies: Sequence[Reply]) -> Cost:
        """With the pass that was answered with these."""
        return Cost(self.passes + 1, self.products + replies[0].num_products)

    def exceeds_whole(self, problem: Problem, V: Tensor, energies: int) -> bool:
        """Whether whole Jacobians would have been cheaper than going on.

        Args:
            problem: of which the coordinates count.
            V: (n, b), what is to be asked for next.
            energies: how many times it is multiplied back.
        """
        return problem.n <= WHOLE and self.products + V.shape[1] * (1 + energies) > problem.n

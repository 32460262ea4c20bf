"""What a search knows of the energies of groups of people, in the directions so far and as estimates elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.solvers.dense import root, thin_factor
from ice_lightning.solvers.problem import Reply, together


class EnergyEstimate(NamedTuple):
    """An energy, exact in the span of the directions so far.

    Attributes:
        exact: (r, n), the factor of its terms with few features.
        sketch: (r, n), an estimate of a factor of the others.
        GD: (n, d), the energy of these others times the directions so far; None where there are no others.
    """

    exact: Tensor
    sketch: Tensor
    GD: Tensor | None

    @classmethod
    def known(cls, R: Tensor) -> EnergyEstimate:
        """Of terms whose factor R (r, n) is exact."""
        return cls(R, R[:0], None)

    @classmethod
    def sketched(cls, R: Tensor) -> EnergyEstimate:
        """Of terms whose factor R (r, n) is an estimate, before any direction."""
        return cls(R[:0], R, R[:0].T)

    @property
    def factor(self) -> Tensor:
        """(r, n), a factor of the energy or of an estimate of it."""
        return torch.cat([self.exact, self.sketch])

    def estimate(self) -> Tensor:
        """(r, n), the same with no more rows than needed."""
        return thin_factor([self.exact, self.sketch])

    def times(self, D: Tensor) -> Tensor:
        """The energy times the directions D (n, d) so far."""
        own = self.exact.T @ (self.exact @ D)
        return own if self.GD is None else own + self.GD

    def gram(self, D: Tensor, W: Tensor) -> Tensor:
        """Q^T G Q for Q = [D, W], W being new directions: exact, but estimated between columns of W."""
        GD, outside = self.times(D), self.estimate() @ W
        above = torch.cat([D.T @ GD, GD.T @ W], 1)
        F = root(torch.cat([above, torch.cat([W.T @ GD, outside.T @ outside], 1)]))
        return F.T @ F


class Group(NamedTuple):
    """What a search knows of a group of people.

    Attributes:
        people: how many.
        energies: under hard projections one for every term; under `soft` that of the activated terms, and what the
            suppressed ones charge.
    """

    people: int
    energies: tuple[EnergyEstimate, ...]

    def extended(self, products: Sequence[Tensor]) -> Group:
        """With products (n, b) of every energy that isn't exact with further directions."""
        new = iter(products)
        return self._replace(
            energies=tuple(e if e.GD is None else e._replace(GD=torch.cat([e.GD, next(new)], 1)) for e in self.energies)
        )


def join(groups: Sequence[Group]) -> Group:
    """What is known of the people of several groups."""
    replies = []
    for group in groups:
        rows = [R for energy in group.energies for R in (energy.exact, energy.sketch)]
        products = [energy.GD for energy in group.energies if energy.GD is not None]
        replies.append(Reply(group.people, rows, products, [], 0))
    everyone = together(replies)
    known, pairs = iter(everyone.products), zip(everyone.rows[::2], everyone.rows[1::2], strict=True)
    energies = [
        EnergyEstimate(exact, sketch, None if energy.GD is None else next(known))
        for energy, (exact, sketch) in zip(groups[0].energies, pairs, strict=True)
    ]
    return Group(everyone.people, tuple(energies))

"""Where a counterfactual may go: people at u are moved by t, and the length of t is a number of population deviations.

A basis is orthonormal in the population metric, so that whoever may go up to a distance may go as far in every
direction: the ball has no corners that depend on how the basis was chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ice_lightning.checks import problem
from ice_lightning.population import Geometry, radius


class Basis(Protocol):
    """A subspace of the latent space for each of N people, orthonormal in the population metric."""

    @property
    def dim(self) -> int:
        """How many coordinates a move has."""

    def of(self, people: Tensor) -> Basis:
        """That of some people, by their places (M,)."""

    def displace(self, u: Tensor, t: Tensor) -> Tensor:
        """People u (N, n) moved by t (N, k), (N, n)."""


class NamedBasis(Basis, Protocol):
    """One whose directions have names, in an order."""

    def of(self, people: Tensor) -> NamedBasis:
        """That of some people, by their places (M,)."""

    def along(self, c: Tensor) -> Tensor:
        """The move (N, k) that goes c (N, k) along each direction, which are of unit length in latent units."""

    def slopes(self, g: Tensor) -> Tensor:
        """Slopes (N, k) along each direction, from gradients g (N, k) in the coordinates of a move."""

    def axes(self, u: Tensor) -> Tensor:
        """The moves (k, N, k) of length 1 along each direction, of people u (N, n)."""


@dataclass(frozen=True, eq=False)
class Columns:
    """A few directions, the same for everyone.

    Attributes:
        columns: (n, k), orthonormal in the population metric.
        directions: (k, k), the directions from which the columns were made, as they are named and of unit length in
            latent units: columns @ directions.
    """

    columns: Tensor
    directions: Tensor

    @property
    def dim(self) -> int:
        """How many coordinates a move has."""
        return self.columns.shape[1]

    def of(self, people: Tensor) -> Columns:
        """The same, whoever they are."""
        return self

    def displace(self, u: Tensor, t: Tensor) -> Tensor:
        """People u (N, n) moved by t (N, k), (N, n)."""
        return u + t @ self.columns.T

    def along(self, c: Tensor) -> Tensor:
        """See NamedBasis."""
        return c @ self.directions.to(c).T

    def slopes(self, g: Tensor) -> Tensor:
        """See NamedBasis."""
        return g @ self.directions.to(g)

    def axes(self, u: Tensor) -> Tensor:
        """See NamedBasis."""
        axes = self.directions.to(u)
        return (axes / axes.norm(dim=0)).T[:, None].expand(-1, len(u), -1)

    def to(self, like: Tensor) -> Columns:
        """With the dtype and device of a tensor."""
        return Columns(self.columns.to(like), self.directions.to(like))


@dataclass(frozen=True, eq=False)
class Individual:
    """A few directions of everyone's own.

    Attributes:
        people: the basis of each of N people, all of k coordinates, see `padded`.
    """

    people: tuple[Columns, ...]

    @property
    def dim(self) -> int:
        """How many coordinates a move has."""
        return self.people[0].dim

    def of(self, people: Tensor) -> Individual:
        """That of some people, by their places (M,), at least one."""
        return Individual(tuple(self.people[i] for i in people.tolist()))

    def displace(self, u: Tensor, t: Tensor) -> Tensor:
        """People u (N, n) moved by t (N, k), (N, n)."""
        return torch.cat([one.displace(*rows) for one, *rows in self._each(u, t)])

    def along(self, c: Tensor) -> Tensor:
        """See NamedBasis."""
        return torch.cat([one.along(row) for one, row in self._each(c)])

    def slopes(self, g: Tensor) -> Tensor:
        """See NamedBasis."""
        return torch.cat([one.slopes(row) for one, row in self._each(g)])

    def axes(self, u: Tensor) -> Tensor:
        """See NamedBasis."""
        return torch.cat([one.axes(row) for one, row in self._each(u)], 1)

    def to(self, like: Tensor) -> Individual:
        """With the dtype and device of a tensor."""
        return Individual(tuple(one.to(like) for one in self.people))

    def _each(self, *columns: Tensor) -> Iterator[Any]:
        """Everyone's basis and rows (1, ...) of each column (N, ...)."""
        return zip(self.people, *(column.split(1) for column in columns), strict=True)


def padded(basis: Columns, dim: int) -> Columns:
    """A basis with coordinates that move nothing, for someone who has fewer directions than others.

    Args:
        basis: of k directions.
        dim: how many coordinates a move has, at least k.

    Returns:
        Of as many directions, the last ones 0.

    Example:
        >>> one = padded(Columns(torch.eye(3)[:, :1], 2 * torch.eye(1)), 2)
        >>> one.displace(torch.zeros(1, 3), torch.ones(1, 2)).tolist(), one.directions.tolist()
        ([[1.0, 0.0, 0.0]], [[2.0, 0.0], [0.0, 1.0]])
    """
    if not (short := dim - basis.dim):
        return basis
    columns = torch.nn.functional.pad(basis.columns.T, (0, 0, 0, short)).T
    return Columns(columns, torch.block_diag(basis.directions, torch.eye(short).to(columns)))


@dataclass(frozen=True, eq=False)
class EveryCoordinate:
    """All coordinates that may move, at once.

    Attributes:
        geometry: the population metric.
    """

    geometry: Geometry

    @property
    def dim(self) -> int:
        """How many coordinates a move has."""
        return self.geometry.dim

    def of(self, people: Tensor) -> EveryCoordinate:
        """The same, whoever they are."""
        return self

    def displace(self, u: Tensor, t: Tensor) -> Tensor:
        """People u (N, n) moved by t (N, n), (N, n)."""
        return u + self.geometry.displacement(t)

    def to(self, like: Tensor) -> EveryCoordinate:
        """With the dtype and device of a tensor."""
        return EveryCoordinate(self.geometry.to(like))


def named_basis(directions: Tensor, geometry: Geometry) -> Columns:
    """A subspace's basis.

    Args:
        directions: (n, k) in latent units, of any length.
        geometry: the population metric of the layers that may move.

    Returns:
        Orthonormal in that metric; the first columns span the first directions.

    Raises:
        IceError: for directions that depend on each other, or leave the layers that may move.

    Example:
        >>> from ice_lightning.population import geometry
        >>> one_layer = geometry([torch.diag(torch.tensor([4.0, 1.0]))])
        >>> named_basis(torch.eye(2), one_layer).columns.abs().round(decimals=3).tolist()  # a deviation each
        [[2.0, 0.0], [0.0, 1.0]]
    """
    V = torch.nn.functional.normalize(directions.double(), dim=0)
    X = geometry.coordinates(V.T).T
    Q, R = torch.linalg.qr(X)
    sizes = R.diagonal().abs()
    if not bool((sizes > 1e-9 * X.norm(dim=0)).all()):
        raise problem("directions that don't depend on each other", f"{V.shape[1]} that do", "find them again")
    signs = R.diagonal().sign()
    return Columns(geometry.displacement((Q * signs).T).T, signs[:, None] * R)


def random_bases(geometry: Geometry, k: int, count: int, seed: int) -> list[Columns]:
    """Random subspaces, each uniform in the population metric among those of its dimension.

    Args:
        geometry: the population metric, of all layers.
        k: dimensions.
        count: how many.
        seed: of the settings; subspace j depends on it, on j, and on nothing else.

    Returns:
        As many bases.

    Example:
        >>> from ice_lightning.population import geometry
        >>> one, other = random_bases(geometry([torch.eye(4)]), 2, 2, seed=0)
        >>> (one.columns.T @ one.columns).round(decimals=6).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    found = []
    for j in range(count):
        # A digest, since small seeds are those of people.
        digest = hashlib.sha256(f"random subspace {seed} {j}".encode()).digest()
        draw = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        Q = torch.linalg.qr(torch.randn(geometry.dim, k, generator=draw, dtype=torch.float64)).Q
        found.append(Columns(geometry.displacement(Q.T).T, torch.eye(k, dtype=torch.float64)))
    return found


def reach(basis: Basis, bound: float | None) -> float:
    """How far people may be moved.

    Args:
        basis: of k coordinates.
        bound: in population deviations; None for the ball that holds 99.7 % of the population.

    Returns:
        In population deviations.

    Example:
        >>> everyone = Columns(torch.eye(3)[:, :1], torch.eye(1))
        >>> round(reach(everyone, None), 2), reach(everyone, 2.0)
        (2.97, 2.0)
    """
    return radius(basis.dim) if bound is None else bound

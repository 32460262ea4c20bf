"""Where a counterfactual may go: people at u are moved by t, and the length of t is a number of population deviations.

A basis is orthonormal in the population metric, so that whoever may go up to a distance may go as far in every
direction: the ball has no corners that depend on how the basis was chosen.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ice_lightning.checks import problem
from ice_lightning.population import Geometry, radius


class Basis(Protocol):
    """A subspace of the latent space, orthonormal in the population metric."""

    @property
    def dim(self) -> int:
        """How many coordinates a move has."""

    def displace(self, u: Tensor, t: Tensor) -> Tensor:
        """People u (N, n) moved by t (N, k), (N, n)."""


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

    def displace(self, u: Tensor, t: Tensor) -> Tensor:
        """People u (N, n) moved by t (N, k), (N, n)."""
        return u + t @ self.columns.T

    def to(self, like: Tensor) -> Columns:
        """With the dtype and device of a tensor."""
        return Columns(self.columns.to(like), self.directions.to(like))


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

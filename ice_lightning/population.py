"""How people differ in a latent space, and what a step costs there: the population metric.

In W of a trained generator the largest variance is ten thousand times the smallest. A step is cheap where people differ
and dear where nobody does: with C_l the covariance of layer l over people, and L layers that may move, the metric is
M = blockdiag(C_l^-1) / L. One deviation of w made in every layer then has length 1 in W, W+ and S alike. In Z, whose
coordinates are independent normal numbers, M is the identity. In the coordinates x of u = u0 + T x, where
T T^T = M^-1, it is the identity everywhere, and a length is a number of population deviations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.stats import chi2
from torch import Tensor

from ice_lightning.checks import problem
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.parallel import one_thread

GEOMETRIES = ("population", "euclidean")
"""What a length in a latent space may be measured in: this metric, or plain latent units."""
PEOPLE = 4096
"""How many people the covariance is taken over: eight for each coordinate of a w of 512."""
SEED = 3_000_000_000
"""Of the first of them: beyond the seeds of searches and explanations, which draw other people."""
FLOOR = 1e-4
"""No eigenvalue of a covariance counts as less than this share of the mean one: a direction in which nobody differs
would cost infinitely much. A floor of 1e-3 or 1e-5 changes next to nothing (experiments/planted_bias/floor.json)."""
WITHIN = 0.997
"""Share of the population's own coordinates that lie in the ball in which people may be moved: three deviations of one
normal number."""


def radius(k: int) -> float:
    """How far people may be moved in a subspace of k dimensions, in population deviations.

    The ball that holds 99.7 % of the population's own coordinates there, by the chi distribution.

    Example:
        >>> round(radius(1), 2), round(radius(8), 2)
        (2.97, 4.83)
    """
    return math.sqrt(float(chi2.ppf(WITHIN, k)))


@dataclass(frozen=True)
class Geometry:
    """The population metric of a latent space, layer by layer.

    Attributes:
        roots: (w_l, w_l) of each layer, T's blocks, symmetric; zero for a layer that doesn't move.
        inverses: (w_l, w_l) of each layer, those of T^-1; zero for a layer that doesn't move.
    """

    roots: tuple[Tensor, ...]
    inverses: tuple[Tensor, ...]

    @property
    def dim(self) -> int:
        """Number of coordinates of a latent."""
        return sum(len(block) for block in self.roots)

    @property
    def moving(self) -> Tensor:
        """(n,) bool: coordinates in layers that move."""
        return torch.cat([(block.diagonal() > 0).any().expand(len(block)) for block in self.roots])

    def displacement(self, x: Tensor) -> Tensor:
        """T x, in latent units: (N, n) coordinates in population deviations -> (N, n)."""
        return _blockwise(self.roots, x)

    def coordinates(self, d: Tensor) -> Tensor:
        """T^-1 d, in population deviations: (N, n) displacements in latent units -> (N, n).

        What lies in layers that don't move is left out.
        """
        return _blockwise(self.inverses, d)

    def length(self, d: Tensor) -> Tensor:
        """Length of displacements (N, n) in population deviations, (N,)."""
        return self.coordinates(d).norm(dim=1)

    def to(self, like: Tensor) -> Geometry:
        """With the dtype and device of a tensor."""
        return Geometry(tuple(block.to(like) for block in self.roots), tuple(block.to(like) for block in self.inverses))


def _blockwise(blocks: tuple[Tensor, ...], x: Tensor) -> Tensor:
    """The symmetric block-diagonal matrix of blocks (w_l, w_l) times each row of x (N, n), (N, n)."""
    parts = x.split([len(block) for block in blocks], 1)
    return torch.cat([part @ block.to(x) for part, block in zip(parts, blocks, strict=True)], 1)


def covariances(U: Tensor, widths: list[int]) -> list[Tensor]:
    """Covariance of each layer over people.

    Args:
        U: (N, n).
        widths: of the layers, whose sum is n.

    Returns:
        (w_l, w_l) float64 for each layer.

    Example:
        >>> covariances(torch.tensor([[0.0, 1, 5], [2, 3, 5]]), [2, 1])
        [tensor([[2., 2.],
                [2., 2.]], dtype=torch.float64), tensor([[0.]], dtype=torch.float64)]
    """
    return [torch.cov(part.double().T).reshape(part.shape[1], -1) for part in U.split(widths, 1)]


def floored(C: Tensor, floor: float = FLOOR) -> tuple[Tensor, Tensor]:
    """Root and inverse root of a covariance with small eigenvalues raised.

    Args:
        C: (w, w), symmetric.
        floor: an eigenvalue counts as no less than this share of their mean.

    Returns:
        Both (w, w) and symmetric.

    Raises:
        IceError: where nobody differs at all.

    Example:
        >>> root, inverse = floored(torch.diag(torch.tensor([4.0, 0.0])), floor=0.5)
        >>> root.diagonal(), inverse.diagonal()
        (tensor([2., 1.]), tensor([0.5000, 1.0000]))
    """
    values, V = torch.linalg.eigh(C)
    mean = values.clamp_min(0).mean()
    if not mean > 0:
        raise problem("people who differ in every layer that moves", "a layer that is the same in all", "drop it")
    deviation = values.clamp_min(floor * float(mean)).sqrt()
    return (V * deviation) @ V.T, (V / deviation) @ V.T


def geometry(blocks: list[Tensor], moving: Tensor | None = None, floor: float = FLOOR) -> Geometry:
    """The population metric by its covariances.

    Args:
        blocks: (w_l, w_l), the covariance of each of L layers.
        moving: (L,) bool, which layers may move; None for all.
        floor: share of its layer's mean eigenvalue below which none counts.

    Returns:
        The metric.

    Raises:
        IceError: for a layer that moves and is the same in all people.

    Example:
        >>> metric = geometry([torch.eye(2), 4 * torch.eye(2)])
        >>> round(float(metric.length(torch.tensor([[1.0, 0, 2, 0]]))), 4)  # a deviation in either of two layers
        1.0
    """
    may_move = [True] * len(blocks) if moving is None else [bool(each) for each in moving]
    scale = math.sqrt(sum(may_move))
    with one_thread():
        pairs = [floored(C, floor) if each else (torch.zeros_like(C), torch.zeros_like(C))
                 for C, each in zip(blocks, may_move, strict=True)]  # fmt: skip
    return Geometry(tuple(T * scale for T, _ in pairs), tuple(inverse / scale for _, inverse in pairs))


@torch.no_grad()
def layer_covariances(generator: AnyGenerator, space: str, people: int = PEOPLE) -> list[Tensor]:
    """Covariance of each layer of a space over a generator's people.

    Args:
        generator: that draws them.
        space: one of its spaces.
        people: how many.

    Returns:
        (w_l, w_l) float64 for each layer; the identity in z.
    """
    widths = generator.widths(space)
    if space == "z":
        return [torch.eye(width, dtype=torch.float64) for width in widths]
    with one_thread():
        parts = [generator.people(min(512, people - begin), SEED + begin, space) for begin in range(0, people, 512)]
        return covariances(torch.cat(parts).cpu(), widths)


def moving_layers(directions: Tensor, widths: list[int]) -> Tensor:
    """The layers in which directions aren't 0.

    Args:
        directions: (n, k).
        widths: of the L layers, whose sum is n.

    Returns:
        (L,) bool.

    Example:
        >>> moving_layers(torch.tensor([[0.0], [1.0], [0.0]]), [2, 1])
        tensor([ True, False])
    """
    return torch.stack([part.abs().amax() > 0 for part in directions.split(widths)])


POPULATION = 512
"""People whose deviation along a direction is the unit of an edit."""


def deviations(U: Tensor) -> Tensor:
    """Standard deviation of each coordinate of a population (N, n).

    Returns:
        (n,), above 0: a coordinate that doesn't vary has the smallest deviation of the others, or 1.

    Example:
        >>> deviations(torch.tensor([[0.0, 7.0], [2.0, 7.0], [4.0, 7.0]]))
        tensor([2., 2.])
    """
    std = U.std(0)
    return torch.where(std > 0, std, std[std > 0].min() if (std > 0).any() else torch.ones(()).to(U))


def scaled_to_deviations(directions: Tensor, U: Tensor) -> Tensor:
    """Directions, each as long as one standard deviation of a population along it.

    Args:
        directions: (n, k), of unit length.
        U: (N, n), the population.

    Returns:
        (n, k).

    Example:
        >>> scaled_to_deviations(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0, 7.0], [2.0, 7.0], [4.0, 7.0]]))
        tensor([[2.],
                [0.]])
    """
    V = directions.to(U)
    return V * deviations(U @ V)

"""From a latent to features: the coordinates that may move, the image they give, and what the terms see in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ice_lightning.checks import one_of
from ice_lightning.criterions import Analysis, Criterion, Term
from ice_lightning.jacobians.linearize import Jacobian
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.parallel import Batch
from ice_lightning.population import GEOMETRIES, Geometry, geometry, layer_covariances
from ice_lightning.solvers.problem import Problem


@dataclass(frozen=True)
class MovingCoordinates:
    """The coordinates of a latent that may move, in its own units or in population deviations.

    Attributes:
        drawer: draws images; the generator, or a copy in another precision.
        space: of the latents.
        index: (k,), which of a latent's n coordinates may move.
        layers: width of every layer, and whether it moves; one layer where all do.
        geometry: in whose deviations they count; None for the latent's own units.
    """

    drawer: AnyGenerator
    space: str
    index: Tensor
    layers: tuple[tuple[int, bool], ...]
    geometry: Geometry | None

    @classmethod
    def of(
        cls, generator: AnyGenerator, drawer: AnyGenerator, space: str, layers: str | None, metric: str
    ) -> MovingCoordinates:
        """Of a generator's space.

        Args:
            generator: whose space and population.
            drawer: see the class.
            space: one of the generator's.
            layers: which may move, such as "4-8" or "coarse"; None for all.
            metric: euclidean or population.
        """
        one_of("geometry", metric, GEOMETRIES)
        index = generator.coordinates(space, layers)
        moving = torch.zeros(generator.dim(space), dtype=torch.bool)
        moving[index] = True
        # Layers that stay where they are need no derivative, and are told apart where a space has any.
        widths = generator.widths(space) if layers is not None else [generator.dim(space)]
        parts = tuple((width, bool(part[0])) for width, part in zip(widths, moving.split(widths), strict=True))
        if metric == "euclidean":
            return cls(drawer, space, index, parts, None)
        moves = torch.stack([part.any() for part in moving.split(generator.widths(space))])
        return cls(drawer, space, index, parts, geometry(layer_covariances(generator, space), moves))

    def start(self, u: Tensor) -> Tensor:
        """Where a person u (1, n) is: their own coordinates (1, k), or 0 population deviations."""
        own = u[:, self.index.to(u.device)]
        return own if self.geometry is None else torch.zeros_like(own)

    def image(self, v: Tensor, u: Tensor) -> Tensor:
        """The image of a person with other coordinates.

        Args:
            v: (B, k), see `start`.
            u: (1, n), the person.

        Returns:
            (B, 3, H, W).
        """
        like, index = next(self.drawer.parameters()), self.index.to(u.device)
        if self.geometry is not None:
            x = v.new_zeros(len(v), u.shape[1]).index_copy(1, index, v)
            v = (u + self.geometry.displacement(x))[:, index]
        if len(self.layers) == 1:
            return self.drawer(v.to(like.dtype), self.space).to(v.dtype)
        moving = iter(v.split([width for width, moves in self.layers if moves], 1))
        still = u.expand(len(v), -1).split([width for width, _ in self.layers], 1)
        layers = [next(moving) if moves else kept for (_, moves), kept in zip(self.layers, still, strict=True)]
        return self.drawer.draw([layer.to(like.dtype) for layer in layers], self.space).to(v.dtype)

    def coordinates_of(self, directions: Tensor) -> Tensor:
        """The coordinates (k, d) that directions (n, d) of the latent move."""
        inside = directions if self.geometry is None else self.geometry.coordinates(directions.T).T
        return inside[self.index.to(directions.device)]

    def directions(self, V: Tensor) -> Tensor:
        """Directions (n, d) of the latent, from those of the coordinates (k, d)."""
        wide = V.new_zeros(self.drawer.dim(self.space), V.shape[1]).index_copy(0, self.index.cpu(), V)
        return wide if self.geometry is None else self.geometry.displacement(wide.T).T  # of length 1 in that metric


@dataclass(frozen=True)
class PersonFeatures:
    """What some terms see in a person, as a function of the coordinates that may move.

    Attributes:
        coordinates: see there.
        terms: whose features.
        analysis: of the person's own image, held fixed.
        u: (1, n), the person.
    """

    coordinates: MovingCoordinates
    terms: Sequence[Term]
    analysis: Analysis
    u: Tensor

    def __call__(self, v: Tensor) -> list[Tensor]:
        """(B, k) -> (B, m_i) of every term."""
        image = self.coordinates.image(v, self.u)
        return [term(image, self.analysis) for term in self.terms]

    def jacobian(self, batch: Batch | None = None) -> Jacobian:
        """At the person; `batch` is how many products are taken at once."""
        forward = all(term.forward_mode for term in self.terms)
        return Jacobian(self, self.coordinates.start(self.u), forward, batch)


@dataclass(frozen=True)
class LeftOut:
    """Someone who isn't looked at.

    Attributes:
        reason: what is missing.
    """

    reason: str


def analyse(generator: AnyGenerator, space: str, faces: Faces, criterion: Criterion, u: Tensor) -> Analysis | LeftOut:
    """What the face models see in a person, or what is missing there.

    Args:
        generator: draws them.
        space: of u.
        faces: the face models.
        criterion: of which every activated term has to find what it looks at, and every term finite features.
        u: (1, n).
    """
    with torch.no_grad():
        image = generator(u, space)
        if not bool(image.isfinite().all()):
            return LeftOut("a finite image")
        analysis = Analysis(*faces.analyse(image))
        for each in criterion.activate.values():
            if bool(each.term.empty(analysis)):
                return LeftOut(each.term.label)
        for term in criterion.terms:
            if not bool(term(image, analysis).isfinite().all()):
                return LeftOut(f"finite {term.label}")
    return analysis._replace(parse=analysis.parse.to(torch.uint8))  # bytes: it is kept for every person


def problem_of(criterion: Criterion, n: int, people: int) -> Problem:
    """A criterion as a search sees it.

    Args:
        criterion: to be searched.
        n: coordinates that may move.
        people: how many there are.
    """
    return Problem(
        n=n,
        weights=tuple(each.weight for each in criterion.activate.values()),
        ratios={name: each.ratio for name, each in criterion.suppress.items()},
        projection=criterion.projection,
        late=criterion.late,
        activate_ratio=criterion.activate_ratio,
        rank=criterion.rank,
        sizes=tuple(term.features for term in criterion.terms),
        people=people,
    )

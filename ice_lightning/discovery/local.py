"""A person's own directions of a criterion: what the average's search left, met by the person's own Jacobians."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ice_lightning.checks import Mismatch, problem
from ice_lightning.criterions import Analysis, Criterion
from ice_lightning.discovery.evaluate import evaluate, used_terms
from ice_lightning.discovery.features import LeftOut, MovingCoordinates, PersonFeatures, analyse, problem_of
from ice_lightning.jacobians.linearize import Jacobian, graph_bytes
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.parallel import Batch, choose_parallelism, map_threads
from ice_lightning.solvers.local import Average, Local, search
from ice_lightning.solvers.problem import WANTED, Problem, Query, Reply
from ice_lightning.subspace import Charges, Subspace

MEMORY = 4 * 1024.0**3
"""Bytes that the graphs of products at a time may take."""
AVERAGE = "find the subspace again, or set local=false to move everyone along its directions"
"""What to do about a subspace that finds no own directions."""
MATCHED = 8
"""So many directions are searched and matched to the average ones, however few are wanted: matched alone, a person's
strongest one need not be what the average's first is."""
UNSETTLED = 0.5
"""A search whose residual is larger than this hasn't found the person's directions; see solvers.local.TOLERANCE."""


@dataclass(frozen=True)
class LocalProblem:
    """A criterion, ready to be searched in single people.

    Attributes:
        generator: draws them.
        faces: see each of them once.
        criterion: what to change, and what to keep still.
        coordinates: that may move.
        problem: of the search.
        average: what the search over people has left.
    """

    generator: AnyGenerator
    faces: Faces
    criterion: Criterion
    coordinates: MovingCoordinates
    problem: Problem
    average: Average

    @classmethod
    def of(
        cls, generator: AnyGenerator, faces: Faces, criterion: Criterion, subspace: Subspace, layers: str | None
    ) -> LocalProblem:
        """For a subspace.

        Args:
            generator: draws people.
            faces: the face models.
            criterion: of the subspace.
            subspace: of the search over people.
            layers: that may move, as in that search; None for all.

        Raises:
            IceError: where the subspace has nothing to begin with, or is another criterion's.
        """
        metric = subspace.provenance.get("config", {}).get("geometry", "euclidean")
        coordinates = MovingCoordinates.of(generator, generator, subspace.space, layers, metric)
        problem = problem_of(criterion, len(coordinates.index), 1)
        return cls(generator, faces, criterion, coordinates, problem, average_of(subspace, criterion, coordinates))

    def most(self, count: int) -> int:
        """How many of `count` directions people can have of their own: no more than the activated terms have features.

        Nor more than the average has.
        """
        sizes = self.problem.sizes[: len(self.problem.weights)]
        features = [count if size is None else size for size in sizes]
        return min(count, self.average.X.shape[1], sum(features))

    def look_at(self, u: Tensor) -> PersonFeatures | LeftOut:
        """The features of a person (1, n), or what is missing there."""
        analysis = analyse(self.generator, self.coordinates.space, self.faces, self.criterion, u)
        if isinstance(analysis, LeftOut):
            return analysis
        analysis = Analysis(analysis.parse.long(), analysis.landmarks)
        return PersonFeatures(self.coordinates, self.criterion.terms, analysis, u)


def charges_of(average: Average, criterion: Criterion) -> Charges:
    """What a search over people has left, by the names of the criterion's terms.

    Args:
        average: what it has left.
        criterion: of the search.
    """
    numbers = dict(enumerate(criterion.suppress, len(criterion.activate)))
    deviations = {name: average.deviations[i] for i, name in numbers.items()} | {"": average.deviations[WANTED]}
    charged = average.M.half().float()  # as a file keeps it, so that it leads to the same
    return Charges(charged, {name: average.charges.get(i, 0.0) for i, name in numbers.items()}, deviations)


def check_charges(subspace: Subspace) -> Charges:
    """What a search over people has left in its subspace; raises IceError where it hasn't."""
    if subspace.charges is None:
        raise problem("a subspace with what its search has left for single people", "one without", AVERAGE, Mismatch)
    return subspace.charges


def average_of(subspace: Subspace, criterion: Criterion, coordinates: MovingCoordinates) -> Average:
    """What the search over people has left, from its subspace, as a single person is charged.

    Args:
        subspace: that it has found.
        criterion: of the search; its `local_relaxation` divides the charges, but not what is charged for the average's
            sake.
        coordinates: that may move.

    Raises:
        IceError: where the subspace hasn't got it, or of another criterion.
    """
    kept = check_charges(subspace)
    if set(kept.charges) != set(criterion.suppress) or kept.charged.shape[1] != len(coordinates.index):
        got = f"one of {', '.join(kept.charges) or 'none'} and {kept.charged.shape[1]} coordinates"
        terms = ", ".join(criterion.suppress) or "none"
        raise problem(f"a subspace of these suppressed terms: {terms}", got, AVERAGE, Mismatch)
    X = coordinates.coordinates_of(subspace.directions.double())
    numbers = {name: i for i, name in enumerate(criterion.suppress, len(criterion.activate))} | {"": WANTED}
    own = 1 / criterion.local_relaxation
    return Average(
        X / X.norm(dim=0),
        {numbers[name]: own * charge for name, charge in kept.charges.items() if charge > 0},
        kept.charged.double(),
        {numbers[name]: each for name, each in kept.deviations.items()},
    )


@dataclass(frozen=True)
class LocalDirections:
    """Directions of people, each their own; a person who has none of their own has the average's.

    Attributes:
        directions: (N, n, k) in latent units, of length 1 in the metric; 0 where a person has fewer.
        values: (N, k), activated energy by 1 + what is charged; 0 where a person has fewer.
        clean: (N, k), activated change per suppressed change to first order, see solvers.local.Local.clean.
        agreement: (N, k), how near the activated changes are to those of the average directions, a cosine.
        residual: (N,), see solvers.local.TOLERANCE; NaN where nothing was searched.
        own: (N,) bool, whose directions are their own.
        products: (N,), with a Jacobian or its transpose, that the search took.
        why: of everyone, why they have the average's directions; "" where they have their own.
        found: of everyone, what their search has found; None where they have the average's directions.
    """

    directions: Tensor
    values: Tensor
    clean: Tensor
    agreement: Tensor
    residual: Tensor
    own: Tensor
    products: Tensor
    why: tuple[str, ...]
    found: tuple[Local | None, ...]

    def select(self, people: Sequence[int]) -> LocalDirections:
        """Of some people, by their places."""
        return joined([LocalDirections(**{name: column[i : i + 1] for name, column in vars(self).items()})
                       for i in people])  # fmt: skip


def joined(parts: Sequence[LocalDirections]) -> LocalDirections:
    """The directions of several groups of people, one after the other."""
    columns: dict[str, Any] = {}
    for name in vars(parts[0]):
        column = [getattr(part, name) for part in parts]
        columns[name] = torch.cat(column) if isinstance(column[0], Tensor) else sum(column, ())
    return LocalDirections(**columns)


def answering(features: PersonFeatures, asked: Problem, batch: Batch | None = None) -> Callable[[Query], Reply]:
    """What answers queries for one person, whose image is drawn once.

    Args:
        features: of the person.
        asked: the problem of the search.
        batch: how many products are taken at once.
    """
    J = features.jacobian(batch)
    every = list(range(len(asked.sizes)))
    parts: dict[tuple[int, ...], Jacobian] = {}

    def answer(query: Query) -> Reply:
        used = used_terms(query, len(every))
        part = parts.setdefault(tuple(used), J.of(used))  # whose second graph is kept
        return evaluate(query, part, used, asked.n, 0).mean()

    return answer


def find_local(local: LocalProblem, U: Tensor, count: int) -> LocalDirections:
    """Search people's own directions, a person per thread on a CPU.

    Args:
        local: the criterion.
        U: people (N, n).
        count: directions that are wanted, at most as many as the average has, or as its activated terms have features.

    Returns:
        Of everyone, in their order.
    """
    people = list(U.split(1))
    threads, batch = parallelism(local, people[0])
    return joined(map_threads(lambda u: find_one(local, u, local.most(count), batch), people, threads))


def find_one(local: LocalProblem, u: Tensor, count: int, batch: Batch | None = None) -> LocalDirections:
    """Search the own directions of one person.

    Args:
        local: the criterion.
        u: (1, n), the person.
        count: directions that are wanted, at most `local.most` of them.
        batch: how many products are taken at once.
    """
    features = local.look_at(u)
    if isinstance(features, LeftOut):
        return averaged(local, u, count, features.reason)
    return find_by(local, u, count, answering(features, local.problem, batch))


def find_by(local: LocalProblem, u: Tensor, count: int, answer: Callable[[Query], Reply]) -> LocalDirections:
    """Search the own directions of one person, whose Jacobians somebody else multiplies.

    Args:
        local: the criterion.
        u: (1, n), the person.
        count: directions that are wanted, at most `local.most` of them.
        answer: to a query, of this person alone.
    """
    found = search(local.problem, local.average, answer, max(count, MATCHED))
    found = found.first(count)
    if found.residual != found.residual:
        return averaged(local, u, count, "finite derivatives", found)
    if not found.V.shape[1]:
        return averaged(local, u, count, "a direction of their own", found)
    if not found.residual <= UNSETTLED:
        return averaged(local, u, count, "a small residual", found)
    return own(local, u, count, found)


def parallelism(local: LocalProblem, u: Tensor) -> tuple[int, Batch]:
    """How many people at once, and how many products of each.

    Args:
        local: the criterion.
        u: (1, n), one of them.
    """
    features = local.look_at(u)
    if isinstance(features, LeftOut):
        return 1, Batch()
    graph = graph_bytes(features, local.coordinates.start(u))
    share = choose_parallelism(u.device, None, MEMORY, graph)
    return share.people, Batch(share.products)


def own(local: LocalProblem, u: Tensor, count: int, found: Local) -> LocalDirections:
    """The row of someone who has directions of their own.

    Args:
        local: the criterion.
        u: (1, n), the person.
        count: directions of everyone.
        found: of the person.
    """

    def padded(column: Tensor) -> Tensor:
        return torch.cat([column, column.new_zeros(count - len(column))])[None].float()

    V = local.coordinates.directions(found.V)
    V = torch.cat([V, V.new_zeros(len(V), count - V.shape[1])], 1)
    clean = found.clean(local.problem, local.average.deviations)
    return LocalDirections(
        V[None].to(u), padded(found.values), padded(clean), padded(found.agreement),
        torch.tensor([found.residual]), torch.tensor([True]), torch.tensor([found.cost.products]), ("",),
        (found,),
    )  # fmt: skip


def averaged(local: LocalProblem, u: Tensor, count: int, why: str, found: Local | None = None) -> LocalDirections:
    """The row of someone who has the average's directions.

    Args:
        local: the criterion.
        u: (1, n), the person.
        count: directions of everyone.
        why: what is missing.
        found: what a search has come to, where there was one.
    """
    V = local.coordinates.directions(local.average.X[:, :count])
    none = torch.full((1, count), torch.nan)
    residual, products = (torch.nan, 0) if found is None else (found.residual, found.cost.products)
    return LocalDirections(
        V[None].to(u), none, none, none, torch.tensor([residual]), torch.tensor([False]), torch.tensor([products]),
        (why,), (None,),
    )  # fmt: skip

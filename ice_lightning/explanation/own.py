"""People's own directions in an explanation: whether there are any, what they cost, and the bases that they span."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ice_lightning.checks import IceError, problem
from ice_lightning.counterfactuals.bases import Columns, Individual, named_basis, padded
from ice_lightning.discovery.features import LeftOut
from ice_lightning.discovery.local import LocalDirections, LocalProblem, find_one, joined, parallelism
from ice_lightning.explanation.outcomes import Own
from ice_lightning.parallel import Batch, one_by_one
from ice_lightning.population import Geometry

LOG = logging.getLogger("ice_lightning")


def problem_or_average(make: Callable[[], LocalProblem], local: bool | None, held: bool) -> LocalProblem | None:
    """What finds people's own directions, or nothing where everyone moves along the average's.

    Args:
        make: of the subspace; raises IceError where it has nothing to begin with, or names what isn't there.
        local: whether people have directions of their own; None where the subspace has what it takes, with a warning
            where it hasn't.
        held: whether moves are held, for which own directions are needed.

    Returns:
        None for the average.

    Raises:
        IceError: where own directions are asked for and can't be had.
    """
    if local is False:
        if held:
            raise problem("own directions, which moves are held along", "local=false with held=true", "set local=true")
        return None
    try:
        return make()
    except IceError as error:
        if local or held:
            raise
        LOG.warning(f"everyone moves along the average's directions: {error}")
        return None


class OwnSearch:
    """Searches people's own directions, and says beforehand how long that takes.

    Args:
        local: the criterion.
        count: directions that are wanted.

    Attributes:
        count: directions of everyone.
        missing: how many have none of their own, by what is missing.
    """

    def __init__(self, local: LocalProblem, count: int) -> None:
        self.local, self.count = local, local.most(count)
        self.batch = Batch()
        self.timed = False
        self.missing: Counter[str] = Counter()

    def prepare(self, people: Tensor) -> None:
        """See how many products are taken at once, on people (P, n) who are the same for every process."""
        if people.device.type == "cpu":
            return
        for u in people.split(1):
            if not isinstance(self.local.look_at(u), LeftOut):
                self.batch = parallelism(self.local, u)[1]
                return

    def __call__(self, U: Tensor, left: int) -> LocalDirections:
        """Of people U (N, n); `left` are still to come with these, for the log."""
        if not len(U):
            return self.nobody(U)
        parts, rest, begin = [], U, time.monotonic()
        if not self.timed:
            self.timed, parts, rest = True, [self.find(U[:1])], U[1:]
            threads = torch.get_num_threads() if U.device.type == "cpu" else 1
            seconds = (time.monotonic() - begin) * left / min(threads, max(left, 1))
            LOG.info(f"people's own directions take about {seconds:.0f} s for {left} people")
        found = joined(parts + ([self.find(rest)] if len(rest) else []))
        self.missing.update(why for why in found.why if why)
        return found

    def warn(self) -> None:
        """Say why some have no directions of their own."""
        if self.missing:
            reasons = ", ".join(f"{many} for want of {why}" for why, many in self.missing.items())
            LOG.warning(f"some people move along the average's directions, having none of their own: {reasons}")

    def nobody(self, U: Tensor) -> LocalDirections:
        """Of no people (0, n)."""
        none, few = torch.zeros(0), torch.zeros(0, self.count)
        directions = U.new_zeros(0, U.shape[1], self.count)
        return LocalDirections(directions, few, few, few, none, none.bool(), none.long(), (), ())

    def find(self, U: Tensor) -> LocalDirections:
        """Of people U (N, n), each alone, so that it doesn't matter who else is there."""

        def several(rows: Tensor) -> LocalDirections:
            return joined([find_one(self.local, u, self.count, self.batch) for u in rows.split(1)])

        with torch.enable_grad():
            return joined(one_by_one(several, U))


def bases_of(own: LocalDirections, average: Columns, metric: Geometry) -> Individual:
    """The basis of each person.

    Args:
        own: directions of N people.
        average: the basis of those who have none of their own, of as many directions.
        metric: the population metric of the layers that may move.

    Returns:
        Orthonormal in that metric for each person.
    """

    def basis(place: int) -> Columns:
        V = own.directions[place].cpu()
        return padded(named_basis(V[:, V.any(0)], metric), average.dim)

    return Individual(tuple(basis(i) if found else average for i, found in enumerate(own.own.tolist())))


def rows_of(own: LocalDirections, keep: bool) -> Own:
    """What is kept of people's own directions, where these are.

    Args:
        own: of N people.
        keep: the directions as well.
    """
    directions = own.directions.half() if keep else None
    rows = Own(own.own, own.residual, own.agreement, directions)
    return rows.map(lambda column: column.to(own.directions.device))


@dataclass(frozen=True)
class OwnDirections:
    """How many people have directions of their own, and how well these were found.

    Attributes:
        people: how many have.
        without: numbers of those who move along the average's instead.
        residual: median of those who have, see `solvers.local.TOLERANCE`; None of nobody.
        agreement: the same of the cosine between what the first own and the first average direction change.
    """

    people: int
    without: tuple[int, ...]
    residual: float | None
    agreement: float | None

    @classmethod
    def of(cls, own: Own, number: Tensor) -> OwnDirections:
        """Of people with a finite score.

        Args:
            own: of N people.
            number: (N,) of each.
        """

        def median(column: Tensor) -> float | None:
            return float(column.double().quantile(0.5)) if len(column) else None

        found = own.found
        residual, agreement = median(own.residual[found]), median(own.agreement[found, 0])
        return cls(int(found.sum()), tuple(number[~found].tolist()), residual, agreement)

    @property
    def sentence(self) -> str:
        """Who moves along whose directions."""
        if not self.without:
            return "Everyone moves along directions of their own."
        few = ", ".join(map(str, self.without[:10])) + (", ..." if len(self.without) > 10 else "")
        people = self.people + len(self.without)
        return f"{self.people} of {people} people move along directions of their own, the others ({few}) the average's."

    def to_json(self) -> dict[str, Any]:
        """As in metrics.json."""
        return {**vars(self), "without": list(self.without)}

"""A subspace at single people: directions of their own, straight moves along them, and held ones."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ice_lightning.checks import at_least, problem
from ice_lightning.discovery.features import LeftOut
from ice_lightning.discovery.local import LocalDirections, LocalProblem, find_local, parallelism
from ice_lightning.edits.held import Path, hold
from ice_lightning.edits.straight import straight
from ice_lightning.parallel import map_threads
from ice_lightning.subspace import strengths_of
from ice_lightning.traversal import Walk, visible_strengths, walk

LOG = logging.getLogger("ice_lightning")

STAGES = 4
"""A held move is continued through so many strengths; between them it is straight."""
CLEAN = 1.0
"""A direction is offered where its activated terms move at least so much more than any suppressed one, each in
deviations of its features, to first order."""


class Reach(NamedTuple):
    """How far a person is held along a direction, to one side, as far as held moves were asked for.

    Attributes:
        held_up_to: the last strength asked for up to which everything is held, with its sign; 0 for none.
        not_held_at: the one after it; None where all are held, or none was asked for.
        stopped_by: see Path.
    """

    held_up_to: float
    not_held_at: float | None
    stopped_by: str

    @classmethod
    def of(cls, path: Path | None) -> Reach:
        """Along a held path, if there is one."""
        if path is None:
            return cls(0.0, None, "")
        return cls(path.held_up_to, path.broken and path.broken.asked, path.stopped_by)


@dataclass(frozen=True)
class Moved:
    """What is known of a person who moves along a direction.

    Attributes:
        strength: to either side, in lengths of the direction.
        own: whether the direction is the person's own.
        why: they have the average's instead; "" where it is their own.
        agreement: how near the activated change is to that of the average direction, a cosine; None without an own one.
        clean: activated change per suppressed change to first order, see CLEAN; None without an own one.
        residual: of the person's search; None where nothing was searched.
        reach: to the minus and the plus side; None where moves aren't held, or there is no own direction.
    """

    strength: float
    own: bool
    why: str
    agreement: float | None
    clean: float | None
    residual: float | None
    reach: tuple[Reach, Reach] | None

    def to_json(self) -> dict[str, Any]:
        """As in metrics.json."""
        sides = zip(("minus", "plus"), self.reach or (), strict=False)
        return asdict(self) | {"reach": {side: reach._asdict() for side, reach in sides}}


@dataclass(frozen=True, eq=False)
class SubspaceAt:
    """A subspace at people u, each of whom has directions of their own.

    Attributes:
        problem: the criterion.
        u: people (N, n).
        local: their directions; `local.own` says who has some, `local.why` why somebody has the average's instead.
        provenance: of the subspace.
        hold: whether moves are held.
        paths: held moves that were found before, by person, direction and sign.
    """

    problem: LocalProblem
    u: Tensor
    local: LocalDirections
    provenance: dict[str, Any]
    hold: bool = False
    paths: dict[tuple[int, int, float], Path] = field(default_factory=dict, repr=False)

    @property
    def space(self) -> str:
        """Of the latents."""
        return self.problem.coordinates.space

    @property
    def directions(self) -> Tensor:
        """(N, n, k), in latent units, of length 1 in the metric."""
        return self.local.directions

    @property
    def offered(self) -> Tensor:
        """(N, k) bool: which directions are clean to first order, by their own terms, see CLEAN."""
        return self.local.own[:, None] & (self.local.clean >= CLEAN)

    def held(self) -> SubspaceAt:
        """The same with moves that are held."""
        return replace(self, hold=True)

    def straight(self) -> SubspaceAt:
        """The same with moves that aren't held."""
        return replace(self, hold=False)

    def edit(self, u: Tensor | None = None, direction: int = 0, strength: float | Tensor = 1.0) -> Tensor:
        """The people moved along one direction.

        Args:
            u: the people, as a check; None for them.
            direction: 0 is each person's that does what the average's strongest does.
            strength: in lengths of the direction, which are population deviations where the search was in that metric;
                a number or (N,).

        Returns:
            (N, n). A held move to a strength between two that were searched before lies on the straight line between
            these.

        Raises:
            IceError: for other people, or a direction that there isn't.
        """
        if u is not None:
            self.check_people(u)
        strengths = self.checked(direction, strength)
        moved = straight(self.u, self.directions[:, :, direction], strengths)
        if not self.hold:
            return moved
        places = [i for i, t in enumerate(strengths.tolist()) if t and self.has(i, direction)]
        for i, path in zip(places, self.follow(direction, strengths, places), strict=True):
            x = path.at(float(strengths[i]))
            moved[i] = self.u[i] + self.problem.coordinates.directions(x[:, None].cpu())[:, 0].to(self.u)
        return moved

    def has(self, person: int, direction: int) -> bool:
        """Whether a person has a direction of their own.

        Args:
            person: by place.
            direction: which; whose activated terms have few features has few directions.
        """
        found = self.local.found[person]
        return found is not None and direction < found.V.shape[1]

    def check_people(self, u: Tensor) -> None:
        """Refuse other people than these."""
        fix = "ask for theirs with at(u)"
        if not isinstance(u, Tensor) or u.shape != self.u.shape:
            got = f"a {type(u).__name__}" if not isinstance(u, Tensor) else f"latents of shape {tuple(u.shape)}"
            raise problem(f"the {len(self.u)} people whose directions these are", got, fix)
        different = ~torch.isclose(u.to(self.u), self.u, rtol=0, atol=0, equal_nan=True).all(1)
        if different.any():
            others = ", ".join(map(str, different.nonzero()[:, 0].tolist()))
            raise problem("the people whose directions these are", f"somebody else as person {others}", fix)

    def checked(self, direction: int, strength: float | Tensor) -> Tensor:
        """Strengths (N,); refuses a direction that there isn't, and strengths for other than one or all people."""
        k = self.directions.shape[2]
        if not 0 <= at_least("direction", direction, 0) < k:
            raise problem(f"a direction from 0 to {k - 1}", direction, "nobody has more")
        return strengths_of(strength, self.u)

    def follow(
        self, direction: int, strengths: Tensor, places: Sequence[int], between: Callable[[], None] = lambda: None
    ) -> list[Path]:
        """Held paths of some people that reach their strengths, found before or now, a person per thread on a CPU.

        Args:
            direction: which.
            strengths: (N,).
            places: of the people who move.
            between: is called before each stage of a path; what it raises ends the search.
        """

        def known(i: int) -> bool:
            path, size = self.paths.get((i, direction, sign(i))), abs(float(strengths[i]))
            ends = (torch.inf, 0.0) if path is None else (abs(path.moves[0].asked), abs(path.moves[-1].asked))
            return ends[0] * (1 - 1e-6) <= size <= ends[1] * (1 + 1e-6)

        def sign(i: int) -> float:
            return 1.0 if strengths[i] > 0 else -1.0

        def search(i: int) -> None:
            with torch.inference_mode(False), torch.enable_grad():
                features = self.problem.look_at(self.u[i : i + 1])
                found = self.local.found[i]
                assert found is not None and not isinstance(features, LeftOut)
                steps = stages(float(strengths[i]), between)
                path = hold(self.problem, features, found, direction, steps, batch)
                self.paths[i, direction, sign(i)] = merged(self.paths.get((i, direction, sign(i))), path)

        if missing := [i for i in places if not known(i)]:
            threads, batch = parallelism(self.problem, self.u[missing[0] : missing[0] + 1])
            map_threads(search, missing, threads)
        return [self.paths[i, direction, sign(i)] for i in places]

    def reach(self, person: int, direction: int) -> tuple[Reach, Reach]:
        """How far a person is held to either side, minus and plus, as far as held moves were asked for.

        Args:
            person: by place.
            direction: which.
        """
        return Reach.of(self.paths.get((person, direction, -1.0))), Reach.of(self.paths.get((person, direction, 1.0)))

    def moved(self, direction: int, strengths: Tensor) -> tuple[Moved, ...]:
        """What is known of everyone who was moved along a direction.

        Args:
            direction: which.
            strengths: (N,), how far to either side.
        """

        def known(value: Tensor) -> float | None:
            return float(value) if value.isfinite() else None

        rows = []
        for i, (own, why) in enumerate(zip(self.local.own.tolist(), self.local.why, strict=True)):
            rows.append(Moved(
                float(strengths[i]), own, why, known(self.local.agreement[i, direction]),
                known(self.local.clean[i, direction]), known(self.local.residual[i]),
                self.reach(i, direction) if self.hold and self.has(i, direction) else None,
            ))  # fmt: skip
        return tuple(rows)

    def walk(self, direction: int = 0, strength: float | Tensor | None = None) -> Walk:
        """Draw the people to both ends of a direction, see `traversal.walk`.

        Args:
            direction: 0 is each person's that does what the average's strongest does.
            strength: at the ends; None for where each person's change is plain to see, by straight moves.

        Returns:
            Strengths and images.

        Raises:
            IceError: where the generator draws anything but finite numbers so far away.
        """
        generator = self.problem.generator
        if strength is None:
            strength = visible_strengths(generator, self.straight(), self.u, direction)
        self.checked(direction, strength)
        return walk(generator, self, self.u, direction, strength)


def stages(strength: float, between: Callable[[], None] = lambda: None) -> Iterator[float]:
    """Strengths of a path, each after a call.

    Args:
        strength: at its end.
        between: is called before each.

    Example:
        >>> list(stages(2.0))
        [0.5, 1.0, 1.5, 2.0]
    """
    for stage in range(1, STAGES + 1):
        between()
        yield strength * stage / STAGES


def merged(known: Path | None, new: Path) -> Path:
    """The moves of two paths to one side, by their strengths; of two to the same strength the new one."""
    moves = {} if known is None else {abs(move.asked): move for move in known.moves}
    moves |= {abs(move.asked): move for move in new.moves}
    return replace(new, moves=tuple(moves[size] for size in sorted(moves)))


def subspace_at(problem: LocalProblem, u: Tensor, count: int, provenance: dict[str, Any]) -> SubspaceAt:
    """Search the own directions of people; who has none is named in a warning.

    Args:
        problem: the criterion.
        u: people (N, n).
        count: directions that are wanted.
        provenance: of the subspace.
    """
    local = find_local(problem, u, count)
    if missing := Counter(why for why in local.why if why):
        reasons = ", ".join(f"{many} for want of {why}" for why, many in missing.items())
        who = f"{sum(missing.values())} of {len(u)} people"
        LOG.warning(f"{who} have no directions of their own ({reasons}) and move along the average's")
    return SubspaceAt(problem, u, local, provenance)

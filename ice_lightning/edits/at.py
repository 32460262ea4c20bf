"""A subspace at single people: directions of their own, straight moves along them, and held ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ice_lightning.checks import at_least, problem
from ice_lightning.discovery.features import LeftOut
from ice_lightning.discovery.local import LocalDirections, LocalProblem, find_local, parallelism
from ice_lightning.edits.held import Path, hold
from ice_lightning.edits.straight import straight
from ice_lightning.parallel import map_threads

STAGES = 4
"""A held move is continued through so many strengths; between them it is straight."""
CLEAN = 1.0
"""A direction is offered where its activated terms move at least so much more than any suppressed one, each in
deviations of its features, to first order."""


@dataclass(frozen=True, eq=False)
class SubspaceAt:
    """A subspace at people u, each of whom has directions of their own.

    Attributes:
        problem: the criterion.
        u: people (N, n).
        local: their directions.
        provenance: of the subspace.
        hold: whether moves are held.
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
        return SubspaceAt(self.problem, self.u, self.local, self.provenance, True, self.paths)

    def edit(self, u: Tensor | None = None, direction: int = 0, strength: float | Tensor = 1.0) -> Tensor:
        """The people moved along one direction.

        Args:
            u: the people, as a check; None for them.
            direction: 0 is the strongest.
            strength: in lengths of the direction, which are population deviations where the search was in that metric;
                a number or (N,).

        Returns:
            (N, n).

        Raises:
            IceError: for other people, or a direction that there isn't.
        """
        if u is not None and not torch.equal(u.to(self.u), self.u):
            raise problem("the people whose directions these are", "others", "ask for theirs with at(u)")
        k = self.directions.shape[2]
        if not 0 <= at_least("direction", direction, 0) < k:
            raise problem(f"a direction from 0 to {k - 1}", direction, "nobody has more")
        strengths = torch.as_tensor(strength, dtype=self.u.dtype).reshape(-1).expand(len(self.u))
        if not self.hold:
            return straight(self.u, self.directions[:, :, direction], strengths)
        places = [i for i, t in enumerate(strengths.tolist()) if t and self.local.found[i] is not None]
        moved = straight(self.u, self.directions[:, :, direction], strengths)
        for i, path in zip(places, self.follow(direction, strengths, places), strict=True):
            x = path.at(float(strengths[i]))
            moved[i] = self.u[i] + self.problem.coordinates.directions(x[:, None].cpu())[:, 0].to(self.u)
        return moved

    def follow(self, direction: int, strengths: Tensor, places: list[int]) -> list[Path]:
        """Held paths of some people that reach their strengths, found before or now, a person per thread on a CPU.

        Args:
            direction: which.
            strengths: (N,).
            places: of the people who move.
        """

        def path(i: int) -> Path:
            t = float(strengths[i])
            key = i, direction, 1.0 if t > 0 else -1.0
            known = self.paths.get(key)
            if known is None or abs(known.moves[-1].asked) < abs(t) * (1 - 1e-6):
                features = self.problem.look_at(self.u[i : i + 1])
                found = self.local.found[i]
                assert found is not None and not isinstance(features, LeftOut)
                steps = [t * (stage + 1) / STAGES for stage in range(STAGES)]
                known = self.paths[key] = hold(self.problem, features, found, direction, steps, batch)
            return known

        if not places:
            return []
        threads, batch = parallelism(self.problem, self.u[:1])
        return map_threads(path, places, threads)


def subspace_at(problem: LocalProblem, u: Tensor, count: int, provenance: dict[str, Any]) -> SubspaceAt:
    """Search the own directions of people.

    Args:
        problem: the criterion.
        u: people (N, n).
        count: directions that are wanted.
        provenance: of the subspace.
    """
    return SubspaceAt(problem, u, find_local(problem, u, count), provenance)

"""Flips that are held: what the criterion suppresses is corrected at the flip, and the classifier looks again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.counterfactuals.base import Counterfactuals, Score, decision_changed
from ice_lightning.discovery.features import LeftOut
from ice_lightning.discovery.local import LocalDirections, LocalProblem
from ice_lightning.edits.held import hold
from ice_lightning.explanation.outcomes import Outcomes
from ice_lightning.parallel import Batch, one_by_one
from ice_lightning.population import Geometry
from ice_lightning.solvers.local import Local

STAGES = 2
"""A move is continued through so many strengths to the flip's own."""
RAISES = (1.0, 1.15, 1.3, 1.5)
"""A held move that doesn't flip goes farther, to these multiples of the straight flip, as far as the ball allows."""


@dataclass(frozen=True)
class Look:
    """What sees whether a move flips, and how far it goes.

    Attributes:
        score: latents -> score.
        draw: latents -> images (N, 3, H, W).
        metric: the population metric of the layers that may move.
        margin: by how much the score has to change sides.
    """

    score: Score
    draw: Callable[[Tensor], Tensor]
    metric: Geometry
    margin: float


class HeldFlips(NamedTuple):
    """What became of flips.

    Attributes:
        end: (N, n) latents; those of the straight flip where no held move flips, or where that is held as it is.
        after: (N,) score there.
        found: (N,) bool: whether the flip is a held move.
        replaced: (N,) bool: whether the end is another than the straight flip's.
        evaluations: (N,) how often the classifier looked again.
        effort: (N,) from the person to another end, in population deviations.
        change: (N,) of the image there, root mean square over pixels.
    """

    end: Tensor
    after: Tensor
    found: Tensor
    replaced: Tensor
    evaluations: Tensor
    effort: Tensor
    change: Tensor

    @classmethod
    def straight(cls, end: Tensor, after: Tensor, held: bool, looks: int) -> HeldFlips:
        """Of one person, where the straight move ends.

        Args:
            end: (1, n).
            after: (1,).
            held: whether it is held as it is.
            looks: how often the classifier looked at other moves.
        """
        found, unknown = torch.tensor([held], device=end.device), torch.full_like(after, torch.nan)
        return cls(
            end, after, found, torch.zeros_like(found), torch.full_like(found, looks, dtype=torch.long), unknown,
            unknown,
        )  # fmt: skip

    def outcomes(self, straight: Outcomes) -> Outcomes:
        """Those of the straight moves, with the effort and the change of the held ones."""
        effort = torch.where(self.replaced, self.effort, straight.effort)
        return Outcomes(straight.flipped, effort, torch.where(self.replaced, self.change, straight.change))


def hold_flips(
    local: LocalProblem,
    own: LocalDirections,
    look: Look,
    U: Tensor,
    images: Tensor,
    moves: Counterfactuals,
    ends: Tensor,
    bound: float,
    batch: Batch | None = None,
) -> HeldFlips:
    """Hold the flips of people who have directions of their own, one by one on a CPU.

    Args:
        local: the criterion.
        own: directions of the people.
        look: sees whether a move flips.
        U: people (N, n).
        images: of them (N, 3, H, W).
        moves: straight ones.
        ends: (N, n) latents there.
        bound: no held move goes farther, in population deviations, unless the straight one did.
        batch: how many products are taken at once.

    Returns:
        Of everyone; who doesn't flip, or has no directions of their own, is where the straight move ends.
    """

    def one(place: int) -> HeldFlips:
        here = slice(place, place + 1)
        found, after = own.found[place], moves.after[here]
        if found is None or not bool(moves.flipped[place]):
            return HeldFlips.straight(ends[here], after, False, 0)
        effort = max(float(moves.t[place].norm()), 1e-30)
        return hold_flip(
            local,
            found,
            look,
            U[here],
            images[here],
            ends[here],
            moves.before[here],
            after,
            effort,
            max(bound, effort),
            batch,
        )

    def several(places: Tensor) -> HeldFlips:
        return _joined([one(place) for place in places.tolist()])

    if not len(U):
        nobody = torch.zeros(0, dtype=torch.bool, device=U.device)
        return HeldFlips(ends, moves.after, nobody, nobody, nobody.long(), moves.after, moves.after)
    with torch.enable_grad():
        return _joined(one_by_one(several, torch.arange(len(U), device=U.device)))


def hold_flip(
    local: LocalProblem,
    found: Local,
    look: Look,
    u: Tensor,
    image: Tensor,
    end: Tensor,
    before: Tensor,
    after: Tensor,
    effort: float,
    bound: float,
    batch: Batch | None = None,
) -> HeldFlips:
    """Hold the flip of one person.

    Args:
        local: the criterion.
        found: the person's directions, with what preconditions.
        look: sees whether a move flips.
        u: (1, n), the person.
        image: (1, 3, H, W), of the person.
        end: (1, n), the straight flip.
        before: (1,), score of the person.
        after: (1,), score of the straight flip.
        effort: of the straight flip, in population deviations.
        bound: no move goes farther.
        batch: how many products are taken at once.
    """
    features = local.look_at(u)
    assert not isinstance(features, LeftOut), "who has directions of their own isn't left out"
    d = local.coordinates.coordinates_of((end - u).cpu().double().T)[:, 0]
    size = float(d.norm())
    v, path = d / size, None
    raises = dict.fromkeys(min(each, max(1.0, bound / effort)) for each in RAISES)
    within = bound if local.coordinates.geometry is not None else float("inf")  # else x isn't in deviations
    looks = 0
    for multiple in raises:
        strengths = [multiple * size] if path else [size * (stage + 1) / STAGES for stage in range(STAGES)]
        path = hold(local, features, found, v, strengths, batch, path, within)
        if multiple == 1 and all(move.held and not move.products for move in path.moves):
            return HeldFlips.straight(end, after, True, 0)
        step = local.coordinates.directions(path.moves[-1].x[:, None].cpu().double()).T
        there, far = u + step.to(u), look.metric.length(step)
        if float(far) > bound * (1 + 1e-6):
            break
        looks += 1
        with torch.no_grad():
            now = look.score(there)
            if bool(decision_changed(before, now, look.margin)):
                held = torch.tensor([path.moves[-1].held], device=u.device)
                return HeldFlips(
                    there, now, held, torch.ones_like(held), torch.full_like(held, looks, dtype=torch.long),
                    far.to(now), (look.draw(there) - image).square().mean((1, 2, 3)).sqrt(),
                )  # fmt: skip
    return HeldFlips.straight(end, after, False, looks)


def _joined(parts: list[HeldFlips]) -> HeldFlips:
    """Those of several people, one after the other."""
    return HeldFlips(*(torch.cat(column) for column in zip(*parts, strict=True)))

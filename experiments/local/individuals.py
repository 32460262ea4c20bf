"""What an edit moved in each person, read by networks that no search has used: the readings of experiments/zoo, singly.

There a motion is the mean over people; here every person has their own, and their own worst other reading. The module
isn't called readings, because that is the zoo's, and both are imported by name from one path.

    people = Individuals(64)
    along = come_along(*PRESETS["mouth_shape"], true_moves(people, FACTORS))
    judged = judge(people.moved_each(image, rows), PRESETS["mouth_shape"].own, along)
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from train_readers import second_readers

from ice_lightning.modules.faces import Faces

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))
from measure import PRESETS
from readings import People, come_along, extent_of, reach, shape_of, true_moves

__all__ = ["PRESETS", "Individuals", "Judged", "come_along", "extent_of", "judge", "reach", "shape_of", "true_moves"]


class Judged(NamedTuple):
    """What an edit did to each of N people, in sigmas.

    Attributes:
        own: (N,) the largest of the preset's own readings; NaN for people who have none of them.
        other: (N,) the worst other reading, beyond what truly comes along with so much of the own one; NaN likewise.
        target: which the own one was, "" where there is none.
        worst: which the other one was, "" likewise.
    """

    own: Tensor
    other: Tensor
    target: list[str]
    worst: list[str]


class Individuals(People):
    """Held-out people one by one.

    All that `People` has stays as it is, means over people above all, on which `true_moves` rests. Only the networks
    are others, and so are the units, which are those networks' standard deviations over renders of POPULATION people.

    Args:
        people: how many.
        seed: of the first; far from those that any search draws.
        space: of the latents.
        faces: what reads; the second readers by default.
    """

    def __init__(self, people: int = 64, seed: int = 3_000_000, space: str = "s", faces: Faces | None = None) -> None:
        super().__init__(people, seed, space, faces or second_readers())

    @torch.no_grad()
    def moved_each(
        self, image: Tensor, rows: Tensor | Sequence[int], base: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """How far every reading is from where it was, person by person.

        Args:
            image: (N, 3, H, W) in 0..1, the people `rows` after an edit.
            rows: (N,) which of these people they are; any order, repetitions too.
            base: of all people; by default what is read off the generator's pictures of them. `true_base` has that of
                their renders.

        Returns:
            By reading (N,), in sigmas; NaN where it can't be taken, since a region is too small in this person. A
            picture that isn't finite is NaN throughout.
        """
        rows = torch.as_tensor(rows)
        here = copy.copy(self)  # with parse maps of its own: threads may read at a time
        here.parse, here.ghost = self.parse[rows], self.ghost[rows]
        now, before = here.read(image), base or self.base
        nowhere = torch.full((len(rows), 1), torch.nan)
        return {
            name: (now.get(name, nowhere) - was[rows]).norm(dim=1) / self.sigma[name] for name, was in before.items()
        }


def judge(moved: Mapping[str, Tensor], own: Iterable[str], along: Mapping[str, float]) -> Judged:
    """Each person's own reading that moved most, and their other one that moved most beyond what comes along.

    Args:
        moved: by reading (N,), see `Individuals.moved_each`.
        own: the preset's own readings.
        along: by other reading, how far it truly moves for every unit of the own one, see `come_along`.

    Returns:
        Both, person by person.
    """
    most, target = largest({name: moved[name] for name in own})
    other, worst = largest({name: (moved[name] - share * most).clamp_min(0) for name, share in along.items()})
    return Judged(most, other, target, worst)


def largest(readings: Mapping[str, Tensor]) -> tuple[Tensor, list[str]]:
    """The largest of readings (N,) that aren't NaN, person by person, and its name; NaN and "" where all are."""
    names, stacked = list(readings), torch.stack(list(readings.values()))
    values, at = stacked.nan_to_num(nan=-torch.inf).max(0)
    none = stacked.isnan().all(0)
    return values.masked_fill(none, torch.nan), ["" if no else names[i] for i, no in zip(at, none, strict=True)]

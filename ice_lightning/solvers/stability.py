"""Whether other people would have given the same subspace, and who isn't like the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self, TypeVar

from torch import Tensor

from ice_lightning.subspace import principal_angles

FIRST = 3
"""So many angles are reported: those that come out within about 5 degrees of halves that are searched on their own, or
where they are wider than 45 degrees within 8. Under `soft` no product is taken for them: within 1 degree for
`skin_color` and 4 for `mouth_shape` with 8 people or more, but up to 12 too wide on made spectra of few people (7 where
all are alike and there are 8 random rows of each)."""

GROUPS = 4
"""Into so many groups people are divided, by their number; any two make a half."""


@dataclass(frozen=True)
class Stability:
    """How far the subspaces of two halves of the people are apart.

    Attributes:
        angles: the first principal angles in degrees, ascending, means over the ways to halve.
        people_per_half: the fewest.
    """

    angles: tuple[float, ...]
    people_per_half: int

    def to_json(self) -> dict[str, Any]:
        """As metrics.json has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From metrics.json."""
        return cls(tuple(values["angles"]), values["people_per_half"])


class SomePeople(Protocol):
    """What is known of a group."""

    @property
    def people(self) -> int:
        """How many."""


Group = TypeVar("Group", bound=SomePeople)


def halvings(groups: Sequence[Group]) -> list[tuple[list[Group], list[Group]]]:
    """The three ways to make two halves of four groups."""
    first, others = groups[0], list(groups[1:])
    return [([first, other], [each for each in others if each is not other]) for other in others]


def stability(groups: Sequence[Group], subspace: Callable[[list[Group]], Tensor]) -> Stability | None:
    """Principal angles between the subspaces of disjoint halves of the people.

    Args:
        groups: four disjoint groups; fewer give None.
        subspace: of the people of several groups, (n, k).

    Returns:
        The first FIRST angles, averaged over the three halvings.
    """
    if len(groups) < GROUPS:
        return None
    found, people = [], []
    for halves in halvings(groups):
        angles = principal_angles(*(subspace(half) for half in halves))
        found.append([math.degrees(angle) for angle in sorted(angles.tolist())])
        people += [sum(group.people for group in half) for half in halves]
    columns = zip(*(angles[:FIRST] for angles in found), strict=True)
    return Stability(tuple(sum(column) / len(found) for column in columns), min(people))

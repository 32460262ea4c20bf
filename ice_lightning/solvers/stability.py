"""Whether other people would have given the same subspace, and who isn't like the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor

from ice_lightning.subspace import principal_angles

FIRST = 3
"""So many angles are told: those that come out within about 5 degrees of halves that are searched on their own. Under
`soft` later ones are too small, by up to 30 degrees."""

GROUPS = 4
"""Into so many groups people are divided, by their number; any two make a half."""


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


def stability(groups: Sequence[Group], subspace: Callable[[list[Group]], Tensor]) -> dict[str, Any] | None:
    """Principal angles between the subspaces of disjoint halves of the people.

    Args:
        groups: four disjoint groups; fewer give None.
        subspace: of the people of several groups, (n, k).

    Returns:
        `angles`, the first FIRST in degrees, ascending, averaged over the three halvings, and `people_per_half`, the
        fewest.
    """
    if len(groups) < GROUPS:
        return None
    found, people = [], []
    for halves in halvings(groups):
        angles = principal_angles(*(subspace(half) for half in halves))
        found.append([math.degrees(angle) for angle in sorted(angles.tolist())])
        people += [sum(group.people for group in half) for half in halves]
    return {
        "angles": [sum(column) / len(found) for column in zip(*(angles[:FIRST] for angles in found), strict=True)],
        "people_per_half": min(people),
    }

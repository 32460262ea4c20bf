"""What came of searches, a row for each person, and how rows are chosen, spread and joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from ice_lightning.counterfactuals.base import Counterfactuals

Index = Tensor | slice


@dataclass(frozen=True, eq=False)
class PerPerson:
    """Tensors with a row for each person; an attribute may be such rows itself, or None where nothing is known."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """With every tensor changed."""
        changed = {
            name: value.map(change) if isinstance(value, PerPerson) else None if value is None else change(value)
            for name, value in vars(self).items()
        }
        return replace(self, **changed)

    def select(self, index: Index) -> Self:
        """Those of some people: a slice, their places, or (N,) bool."""
        return self.map(lambda column: column[index])


People = TypeVar("People", bound=PerPerson)


@dataclass(frozen=True, eq=False)
class Outcomes(PerPerson):
    """What came of a search.

    Attributes:
        flipped: (N,) bool.
        effort: (N,) length of the move, in population deviations; NaN where a file doesn't say.
        change: (N,) of the image at the flip, root mean square over pixels in 0..1; NaN where there is none.
    """

    flipped: Tensor
    effort: Tensor
    change: Tensor


@dataclass(frozen=True, eq=False)
class RandomOutcomes(PerPerson):
    """What came of the searches in M whole random subspaces of k dimensions.

    Attributes:
        applied: (N,) bool, whose rows say anything.
        flipped: (N, M) bool.
        change: (N, M) of the image at the flip; NaN where there is none.
        t: (N, M, k) the moves; None where a file doesn't say.
    """

    applied: Tensor
    flipped: Tensor
    change: Tensor
    t: Tensor | None


@dataclass(frozen=True, eq=False)
class Moves(PerPerson):
    """Where people are, and the smallest move that was found.

    Attributes:
        u: (N, n) latents.
        t: (N, k) in the basis of the subspace, of the straight move; its length is the effort where that isn't held.
        after: (N,) score at the end.
        evaluations: (N,) how often each person's image was made.
        end: (N, n) latents of the counterfactual.
    """

    u: Tensor
    t: Tensor
    after: Tensor
    evaluations: Tensor
    end: Tensor


@dataclass(frozen=True, eq=False)
class Own(PerPerson):
    """Whose directions are their own, and how well they were found.

    Attributes:
        found: (N,) bool; the others move along the average's.
        residual: (N,) of the search, see `solvers.local.TOLERANCE`; NaN where nothing was searched.
        agreement: (N, k) cosines between what own and average directions change; NaN without own ones.
        directions: (N, n, k) in latent units and half precision; None where they weren't kept.
    """

    found: Tensor
    residual: Tensor
    agreement: Tensor
    directions: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Holding(PerPerson):
    """Which flips are held moves.

    Attributes:
        found: (N,) bool.
        straight: (N,) effort of the straight move that was to be held, in population deviations.
    """

    found: Tensor
    straight: Tensor


@dataclass(frozen=True, eq=False)
class Clean(PerPerson):
    """Which flips move nothing beyond what comes along, see `clean`.

    Attributes:
        named: (N,) bool, in the named subspace.
        own: (N,) change of what is named at the flip, in deviations; NaN where there is none.
        excess: (N, R) how far each of `readings.NAMES` moved beyond what comes along, in deviations; NaN likewise.
        weights: (N,) bool, as in `Rows`; None where that control didn't run.
        unrestricted: (N,) bool, likewise.
        random: (N, M) bool, likewise.
    """

    named: Tensor
    own: Tensor
    excess: Tensor
    weights: Tensor | None
    unrestricted: Tensor | None
    random: Tensor | None


def outcomes_of(found: Counterfactuals, change: Tensor) -> Outcomes:
    """What is kept of a search.

    Args:
        found: of N people.
        change: (N,) of the image at the move; it counts as one only at a flip.

    Returns:
        Outcomes of the same people.

    Example:
        >>> nobody, score = torch.tensor([False, True]), torch.ones(2)
        >>> found = Counterfactuals(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), score, -score, nobody, score)
        >>> outcomes_of(found, torch.tensor([0.1, 0.2]))
        Outcomes(flipped=tensor([False,  True]), effort=tensor([5., 1.]), change=tensor([   nan, 0.2000]))
    """
    return Outcomes(found.flipped, found.t.norm(dim=1), only_flips(change, found.flipped))


def only_flips(change: Tensor, flipped: Tensor) -> Tensor:
    """Image changes of those who flip, NaN of the others.

    Args:
        change: (N,).
        flipped: (N,) bool.

    Returns:
        (N,).

    Example:
        >>> only_flips(torch.tensor([0.1, 0.2]), torch.tensor([True, False]))
        tensor([0.1000,    nan])
    """
    return torch.where(flipped, change, torch.nan)


def scatter_rows(column: Tensor, known: Tensor) -> Tensor:
    """Rows of the known people among all of them.

    Args:
        column: (M, ...).
        known: (N,) bool, M of them true.

    Returns:
        (N, ...): NaN, 0 or False for the others.

    Example:
        >>> scatter_rows(torch.tensor([0.1, 0.2]), torch.tensor([True, False, True]))
        tensor([0.1000,    nan, 0.2000])
    """
    nothing = torch.nan if column.is_floating_point() else 0
    full = column.new_full((len(known), *column.shape[1:]), nothing)
    full[known] = column.detach()
    return full


def joined(rows: Sequence[People]) -> People:
    """Rows of several people, one after the other; all know as much.

    >>> one, two = (Outcomes(*torch.full((3, 1), each)) for each in (1.0, 2.0))
    >>> joined([one, two]).effort
    tensor([1., 2.])
    """
    first = rows[0]
    columns: dict[str, Any] = {}
    for name, value in vars(first).items():
        parts = [getattr(each, name) for each in rows]
        columns[name] = None if value is None else joined(parts) if isinstance(value, PerPerson) else torch.cat(parts)
    return replace(first, **columns)


def by_person(numbers: Tensor, rows: People) -> dict[int, People]:
    """The row of each person.

    Args:
        numbers: (N,) of the people.
        rows: of the same people.

    Returns:
        Number -> one row.

    Example:
        >>> rows = by_person(torch.tensor([7, 9]), Outcomes(*torch.eye(3)[:, :2]))
        >>> rows[9].effort
        tensor([1.])
    """
    return {number: rows.select(slice(i, i + 1)) for i, number in enumerate(numbers.tolist())}

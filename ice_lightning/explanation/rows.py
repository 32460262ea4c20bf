"""What is known of every person of an explanation, and the file that holds it.

In the file a column has the name of its attribute, `random_change` for `rows.random.change`; those of `named` and
`moves` have no prefix.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ice_lightning.checks import Mismatch, NotFound, Unreadable, problem
from ice_lightning.counterfactuals.base import Counterfactuals
from ice_lightning.files import atomic_write
from ice_lightning.renamed import renamed

KEPT = "people"
"""Folder of an unfinished run that holds a file for each batch of people."""

FILE = "counterfactuals.safetensors"
ROWS = 2
"""Version of the rows: since 2 they hold every control's raw outcome."""

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
        t: (N, k) in the basis of the subspace; its length is the effort.
        after: (N,) score there.
        evaluations: (N,) how often each person's image was made.
    """

    u: Tensor
    t: Tensor
    after: Tensor
    evaluations: Tensor


@dataclass(frozen=True, eq=False)
class Rows(PerPerson):
    """What is known of some people.

    Attributes:
        number: (N,) of each person.
        before: (N,) score of the classifier; NaN where it has none, and then no other row says anything.
        oracles: (N, A) logits of other classifiers.
        named: in the named subspace.
        moves: of `named`; None where a file has verdicts' columns alone.
        weights: in the named subspace, of the classifier with random weights.
        unrestricted: in all coordinates at once.
        random: in random subspaces.
    """

    number: Tensor
    before: Tensor
    oracles: Tensor
    named: Outcomes
    moves: Moves | None = None
    weights: Outcomes | None = None
    unrestricted: Outcomes | None = None
    random: RandomOutcomes | None = None

    def flips_by_effort(self) -> Tensor:
        """Places of those who flip in the named subspace, the least effort first."""
        flipped = self.named.flipped.nonzero()[:, 0]
        return flipped[self.named.effort[flipped].argsort()]

    def to_tensors(self) -> dict[str, Tensor]:
        """Columns by their names in the file."""
        columns = {"number": self.number, "before": self.before, "oracles": self.oracles}
        for name, prefix in PREFIXES.items():
            part = getattr(self, name)
            for key, column in ({} if part is None else vars(part)).items():
                if column is not None:
                    columns[prefix + ON_DISK.get(key, key)] = column
        return columns

    @classmethod
    def from_tensors(cls, columns: Mapping[str, Tensor]) -> Self:
        """From columns by their names in the file; raises KeyError where one is missing that a verdict needs."""

        def part(kind: type[PerPerson], prefix: str) -> dict[str, Tensor | None]:
            names = {field.name: prefix + ON_DISK.get(field.name, field.name) for field in fields(kind)}
            return {name: columns.get(on_disk) for name, on_disk in names.items()}

        def outcomes(prefix: str) -> Outcomes | None:
            if f"{prefix}flipped" not in columns:
                return None
            change = columns[f"{prefix}change"]
            effort = columns.get(f"{prefix}effort", torch.full_like(change, torch.nan))
            return Outcomes(columns[f"{prefix}flipped"], effort, change)

        moves, random, named = part(Moves, ""), part(RandomOutcomes, "random_"), outcomes("")
        if named is None:
            raise KeyError("flipped")
        return cls(
            columns["number"], columns["before"], columns["oracles"], named,
            Moves(**moves) if all(column is not None for column in moves.values()) else None,  # type: ignore[arg-type]
            outcomes("weights_"), outcomes("unrestricted_"),
            RandomOutcomes(**random) if random["flipped"] is not None else None,  # type: ignore[arg-type]
        )  # fmt: skip


PREFIXES = {"named": "", "moves": "", "weights": "weights_", "unrestricted": "unrestricted_", "random": "random_"}
"""Of the names in the file, for each part of the rows."""
ON_DISK = {"applied": "tried"}


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


@dataclass(frozen=True)
class Header:
    """What made the rows of a file.

    Attributes:
        classifier: its name.
        criterion: the name of the subspace.
        directions: how many it has.
        oracles: names of the columns of `Rows.oracles`.
        settings: what an unfinished run has to agree in to go on.
    """

    classifier: str
    criterion: str
    directions: int
    oracles: tuple[str, ...]
    settings: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As in the file, with the version of the rows."""
        return {**vars(self), "oracles": list(self.oracles), "settings": dict(self.settings), "rows": ROWS}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], path: Path) -> Self:
        """From the file at `path`.

        Raises:
            Mismatch: for rows of a version that lacks what a verdict needs.
        """
        if values.get("rows") != ROWS:
            lacks = ", which lacks the outcomes of whole random subspaces," if values.get("rows", 1) < ROWS else ""
            got = f"version {values.get('rows', 1)}{lacks} at {path}"
            fix = "explain again, into another hydra.run.dir"
            raise problem(f"counterfactuals with rows of version {ROWS}", got, fix, Mismatch)
        names = values["classifier"], values["criterion"], values["directions"], tuple(values["oracles"])
        return cls(*names, renamed(values["settings"]))


def write(path: Path, rows: Rows, header: Header) -> None:
    """A file of some people.

    Args:
        path: where to.
        rows: of the people.
        header: what made them.
    """
    tensors = {name: column.detach().cpu().contiguous() for name, column in rows.to_tensors().items()}
    with atomic_write(path) as part:
        save_file(tensors, part, metadata={"explanation": json.dumps(header.to_json(), sort_keys=True)})


def read_rows(path: Path) -> tuple[Rows, Header]:
    """Rows of some people and what made them.

    Raises:
        SafetensorError: for a broken file.
        KeyError: for a foreign one.
        Mismatch: for one of another version.
    """
    with safe_open(path, "pt") as file:
        header = Header.from_json(json.loads((file.metadata() or {})["explanation"]), path)
        return Rows.from_tensors({name: file.get_tensor(name) for name in file.keys()}), header  # noqa: SIM118 (not a dict)


def finished(folder: Path, settings: Mapping[str, Any]) -> dict[int, Rows]:
    """Rows of the people whom earlier runs in a folder have finished.

    Args:
        folder: of the run.
        settings: those of this run.

    Returns:
        Number -> one row; broken files count for nothing.

    Raises:
        Mismatch: when they were found with other settings.
    """
    done: dict[int, Rows] = {}
    for file in [folder / FILE, *sorted((folder / KEPT).glob("*.safetensors"))]:
        if not file.is_file():
            continue
        try:
            rows, header = read_rows(file)
        except (SafetensorError, KeyError):
            continue
        other = header.settings
        for key in {**settings, **other}:
            if settings.get(key) != other.get(key):
                got = f"people found with {other.get(key)}"
                fix = "set it to that, or choose another hydra.run.dir"
                raise problem(f"a run folder of the same settings ({key}: {settings.get(key)})", got, fix, Mismatch)
        done |= by_person(rows.number, rows)
    return done


@dataclass(frozen=True)
class Explained:
    """A finished explanation.

    Attributes:
        folder: of the run.
        classifier: its name.
        criterion: the name of the subspace.
        directions: how many it has.
        rows: of each person, in the order of their numbers.
        slices: names of the oracles.
    """

    folder: Path
    classifier: str
    criterion: str
    directions: int
    rows: Rows
    slices: tuple[str, ...]

    @property
    def known(self) -> Tensor:
        """(N,) bool: who has a finite score; nobody else is in any denominator."""
        return self.rows.before.isfinite()


def load_explained(folder: str | Path) -> Explained:
    """An explanation from its run folder.

    Raises:
        NotFound: where there is none.
        Unreadable: for a broken file.
        Mismatch: for one of another version.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise problem(f"counterfactuals at {path}", "none", "run task=explain into this folder", NotFound)
    try:
        rows, header = read_rows(path)
    except (SafetensorError, KeyError) as error:
        raise problem(f"a whole file at {path}", str(error), "run the explanation again", Unreadable) from error
    return Explained(Path(folder), header.classifier, header.criterion, header.directions, rows, header.oracles)

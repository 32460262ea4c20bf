"""What is known of every person of an explanation, and the file that holds it.

In the file a column has the name of its attribute, `random_change` for `rows.random.change`; those of `named` and
`moves` have no prefix.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ice_lightning.checks import IceError, Mismatch, NotFound, Unreadable, problem
from ice_lightning.explanation.outcomes import (
    Clean,
    Holding,
    Moves,
    Outcomes,
    Own,
    PerPerson,
    RandomOutcomes,
    by_person,
)
from ice_lightning.files import atomic_write
from ice_lightning.renamed import renamed

KEPT = "people"
"""Folder of an unfinished run that holds a file for each batch of people."""

FILE = "counterfactuals.safetensors"
ROWS = 3
"""Version of the rows: since 2 they hold every control's raw outcome, since 3 where each counterfactual is."""
JUDGED = (2, ROWS)
"""Versions that hold what a verdict needs."""


@dataclass(frozen=True, eq=False)
class Rows(PerPerson):
    """What is known of some people.

    Attributes:
        number: (N,) of each person.
        before: (N,) score of the classifier; NaN where it has none, and then no other row says anything.
        oracles: (N, A) logits of other classifiers.
        named: in the named subspace.
        moves: of `named`; None where a file has verdicts' columns alone, or is of an earlier version.
        weights: in the named subspace, of the classifier with random weights.
        unrestricted: in all coordinates at once.
        random: in random subspaces.
        own: whose directions are their own; None where everyone moves along the average's.
        holding: which flips are held; None where none was to be.
        clean: which flips are clean; None where the criterion doesn't say where it looks, or a file doesn't.
    """

    number: Tensor
    before: Tensor
    oracles: Tensor
    named: Outcomes
    moves: Moves | None = None
    weights: Outcomes | None = None
    unrestricted: Outcomes | None = None
    random: RandomOutcomes | None = None
    own: Own | None = None
    holding: Holding | None = None
    clean: Clean | None = None

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
        own, holding, clean = part(Own, "own_"), part(Holding, "held_"), part(Clean, "clean_")
        if named is None:
            raise KeyError("flipped")
        return cls(
            columns["number"], columns["before"], columns["oracles"], named,
            Moves(**moves) if all(column is not None for column in moves.values()) else None,  # type: ignore[arg-type]
            outcomes("weights_"), outcomes("unrestricted_"),
            RandomOutcomes(**random) if random["flipped"] is not None else None,  # type: ignore[arg-type]
            Own(**own) if own["found"] is not None else None,  # type: ignore[arg-type]
            Holding(**holding) if holding["found"] is not None else None,  # type: ignore[arg-type]
            Clean(**clean) if clean["named"] is not None else None,  # type: ignore[arg-type]
        )  # fmt: skip


PREFIXES = {
    "named": "", "moves": "", "weights": "weights_", "unrestricted": "unrestricted_", "random": "random_",
    "own": "own_", "holding": "held_", "clean": "clean_",
}  # fmt: skip
"""Of the names in the file, for each part of the rows."""
ON_DISK = {"applied": "tried"}


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
        version = values.get("rows", 1)
        if version not in JUDGED:
            lacks = ", which lacks the outcomes of whole random subspaces," if version < JUDGED[0] else ""
            raise _other_version(f"{version}{lacks}", path)
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


def read_rows(path: Path, whole: bool = False) -> tuple[Rows, Header]:
    """Rows of some people and what made them.

    Args:
        path: of the file.
        whole: refuse an earlier version that a verdict could read, but no search could go on from.

    Raises:
        SafetensorError: for a broken file.
        KeyError: for a foreign one.
        Mismatch: for one of another version.
    """
    with safe_open(path, "pt") as file:
        values = json.loads((file.metadata() or {})["explanation"])
        header = Header.from_json(values, path)
        if whole and values["rows"] != ROWS:
            raise _other_version(f"{values['rows']}, which lacks where counterfactuals are,", path)
        return Rows.from_tensors({name: file.get_tensor(name) for name in file.keys()}), header  # noqa: SIM118 (not a dict)


def _other_version(got: str, path: Path) -> IceError:
    """The refusal of rows of another version."""
    fix = "explain again, into another hydra.run.dir"
    return problem(f"counterfactuals with rows of version {ROWS}", f"version {got} at {path}", fix, Mismatch)


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
            rows, header = read_rows(file, whole=True)
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

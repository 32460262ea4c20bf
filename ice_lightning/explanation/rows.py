"""What is kept of every person of an explanation, and the file that holds it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ice_lightning.checks import Mismatch, NotFound, Unreadable, problem
from ice_lightning.counterfactuals.base import Counterfactuals
from ice_lightning.files import atomic_write
from ice_lightning.renamed import renamed

Rows = dict[str, Tensor]
"""What is known of some people, by name, a row each."""

KEPT = "people"
"""Folder of an unfinished run that holds a file for each batch of people."""

FILE = "counterfactuals.safetensors"
ROWS = 2
"""Version of the rows: since 2 they hold every control's raw outcome."""


def columns(moves: Counterfactuals, change: Tensor) -> Rows:
    """What is kept of every search; a change of the image (N,) is one only at a flip."""
    return {"flipped": moves.flipped, "effort": moves.t.norm(dim=1), "change": only_flips(change, moves.flipped)}


def only_flips(change: Tensor, flipped: Tensor) -> Tensor:
    """Image changes (N,) of those who flip, NaN of the others."""
    return torch.where(flipped, change, torch.nan)


def scatter_rows(column: Tensor, known: Tensor) -> Tensor:
    """Rows of the known people (M, ...) among all of them (N, ...): NaN, 0 or False for the others."""
    nothing = torch.nan if column.is_floating_point() else 0
    full = column.new_full((len(known), *column.shape[1:]), nothing)
    full[known] = column.detach()
    return full


def joined(rows: Sequence[Rows]) -> Rows:
    """Rows of several people, one after the other."""
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def write(path: Path, rows: Rows, facts: Mapping[str, Any]) -> None:
    """Rows of some people, with what made them in the header."""
    tensors = {name: column.detach().cpu().contiguous() for name, column in rows.items()}
    with atomic_write(path) as part:
        save_file(tensors, part, metadata={"explanation": json.dumps(facts, sort_keys=True)})


def finished(folder: Path, settings: Mapping[str, Any]) -> dict[int, Rows]:
    """Rows of the people whom earlier runs in this folder have finished, by number; broken files count for nothing.

    Raises:
        IceError: when they were found with other settings.
    """
    done: dict[int, Rows] = {}
    for file in [folder / FILE, *sorted((folder / KEPT).glob("*.safetensors"))]:
        if not file.is_file():
            continue
        try:
            rows, facts = read_rows(file)
        except (SafetensorError, KeyError):
            continue
        check_version(facts, file)
        other = facts["settings"]
        for key in {**settings, **other}:
            if settings.get(key) != other.get(key):
                got = f"people found with {other.get(key)}"
                fix = "set it to that, or choose another hydra.run.dir"
                raise problem(f"a run folder of the same settings ({key}: {settings.get(key)})", got, fix, Mismatch)
        for i, number in enumerate(rows["number"].tolist()):
            done[number] = {name: column[i : i + 1] for name, column in rows.items()}
    return done


@dataclass(frozen=True)
class Explained:
    """A finished explanation.

    Attributes:
        folder: of the run.
        classifier: its name.
        criterion: the name of the subspace.
        directions: how many it has.
        rows: by name, a row for each person in the order of their numbers; see explanation/module.py.
        slices: names of the oracles.
    """

    folder: Path
    classifier: str
    criterion: str
    directions: int
    rows: dict[str, Tensor]
    slices: tuple[str, ...]

    @property
    def known(self) -> Tensor:
        """(N,) bool: who has a finite score; nobody else is in any denominator."""
        return self.rows["before"].isfinite()


def read_rows(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Rows of some people and what made them; raises SafetensorError or KeyError for a broken or foreign file."""
    with safe_open(path, "pt") as file:
        facts = json.loads((file.metadata() or {})["explanation"])
        facts["settings"] = renamed(facts["settings"])
        return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118 (not a dict)


def load_explained(folder: str | Path) -> Explained:
    """An explanation from its run folder.

    Raises:
        IceError: for a missing or broken file, or one of an older version.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise problem(f"counterfactuals at {path}", "none", "run task=explain into this folder", NotFound)
    try:
        rows, facts = read_rows(path)
    except (SafetensorError, KeyError) as error:
        raise problem(f"a whole file at {path}", str(error), "run the explanation again", Unreadable) from error
    check_version(facts, path)
    return Explained(
        Path(folder), facts["classifier"], facts["criterion"], facts["directions"], rows, tuple(facts["oracles"])
    )


def check_version(facts: Mapping[str, Any], path: Path) -> None:
    """Refuse rows of a version that lacks what a verdict needs."""
    if facts.get("rows") != ROWS:
        lacks = ", which lacks the outcomes of whole random subspaces," if facts.get("rows", 1) < ROWS else ""
        got = f"version {facts.get('rows', 1)}{lacks} at {path}"
        raise problem(
            f"counterfactuals with rows of version {ROWS}", got, "explain again, into another hydra.run.dir", Mismatch
        )

"""Do own directions, or held moves, change what flips a classifier? Raw and clean rates of the same people.

    python experiments/planted_bias/own.py [--people 48] [--sets 3] [--cells smiling/mouth_shape ...]

Explains within the same subspace along the average's directions, along each person's own, and along own ones held;
without controls, which don't depend on that. Runs go to outputs/planted_bias/own and go on where they stopped; own.json
has the rates, and what is judged of the first set with the random subspaces of cells/.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from measure import CELLS as WITH_CONTROLS
from measure import OUT, SUBSPACES, subspace

from ice_lightning.explanation.rows import load_explained
from ice_lightning.explanation.verdict import judge, summary
from ice_lightning.files import write_json
from ice_lightning.launch import keep_freed_memory
from ice_lightning.run import run

HERE = Path(__file__).parent
CELLS = ("smiling/mouth_shape", "smiling_biased/hair_color", "smiling_biased/mouth_shape")
KINDS = {
    "average": ("local=false",),
    "own": ("local=true",),
    "held": ("local=true", "held=true"),
}


def folder_of(cell: str, kind: str, part: int) -> Path:
    """Where a cell of a set of people is searched."""
    return OUT / "own" / cell / kind / (str(part) if part else "")


def rates(cell: str, kind: str, part: int, people: int) -> dict[str, Any]:
    """What a cell says: flips, clean flips, efforts; searched unless its folder has as many people."""
    (classifier, criterion), folder = cell.split("/"), folder_of(cell, kind, part)
    with initialize_config_module("ice_lightning.conf", version_base="1.3"):
        settings = [
            "task=explain", f"classifier={classifier}", f"subspace={subspace(criterion)}", "logger=none",
            f"explain.people={people}", f"explain.seed={1_000_000 * (part + 1)}", f"run_dir={folder}",
            "explain.controls={subspaces: 0, weights: false, unrestricted: false}", *KINDS[kind],
        ]  # fmt: skip
        run(compose("config", settings))
    explained = load_explained(folder)
    found = summary(explained).to_json()
    rows, known = explained.rows, explained.known
    row = {key: found[key] for key in ("rate", "low", "high", "of", "effort", "clean", "held", "own_directions")
           if key in found}  # fmt: skip
    row["flipped"] = rows.named.flipped[known].int().tolist()
    if rows.clean is not None:
        row["clean flips"] = rows.clean.named[known].int().tolist()
    return row


def judged(name: str, kind: str) -> dict[str, Any]:
    """A classifier's verdict on the people of the first set, with these cells in place of the average's.

    Args:
        name: of the classifier.
        kind: along which directions.
    """
    cells = []
    for criterion in SUBSPACES:
        known, cell = load_explained(WITH_CONTROLS / f"{name}_{criterion}_0"), f"{name}/{criterion}"
        if cell in CELLS:
            named = load_explained(folder_of(cell, kind, 0)).rows.named
            some = known.rows.select(torch.arange(len(named.flipped)))
            known = replace(known, rows=replace(some, named=named))
        cells.append(known)
    people = min(len(each.rows.number) for each in cells)
    verdict = judge([replace(each, rows=each.rows.select(torch.arange(people))) for each in cells]).to_json()
    rows = {each["criterion"]: {key: each[key] for key in ("rate", "p", "counts")}
            | {"score": each["random"]["score"]} for each in verdict["subspaces"]}  # fmt: skip
    return {"sentence": verdict["sentence"], "subspaces": rows}


def main() -> None:
    """Every cell that isn't in own.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=48)
    parser.add_argument("--sets", type=int, default=3)
    parser.add_argument("--cells", nargs="*", default=CELLS)
    args = parser.parse_args()
    keep_freed_memory()
    file = HERE / "own.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for part, cell, kind in product(range(args.sets), args.cells, KINDS):
        key = f"{cell}/{part}" if part else cell
        if kind in results.get(key, {}):
            continue
        results.setdefault(key, {})[kind] = rates(cell, kind, part, args.people)
        write_json(file, results)
        print(key, kind, {k: x for k, x in results[key][kind].items() if "flip" not in k}, flush=True)
    results["verdicts"] = {f"{name}, {kind}": judged(name, kind)
                           for name in ("smiling", "smiling_biased") for kind in KINDS}  # fmt: skip
    write_json(file, results)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

"""Do own directions, or held moves, change what flips a classifier? Raw and clean rates of the same people.

    python experiments/planted_bias/own.py [--people 48] [--cells smiling/mouth_shape smiling_biased/hair_color ...]

Explains within the same subspace along the average's directions, along each person's own, and along own ones held;
without controls, which tell nothing about the difference. Runs go to outputs/planted_bias/own and go on where they
stopped; own.json has the rates.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from measure import OUT, subspace

from ice_lightning.explanation.rows import load_explained
from ice_lightning.explanation.verdict import summary
from ice_lightning.files import write_json
from ice_lightning.launch import keep_freed_memory
from ice_lightning.run import run

HERE, SEED = Path(__file__).parent, 1_000_000
CELLS = ("smiling/mouth_shape", "smiling_biased/hair_color", "smiling_biased/mouth_shape", "smiling/hair_color")
KINDS = {
    "average": ("local=false",),
    "own": ("local=true",),
    "held": ("local=true", "held=true"),
}


def rates(classifier: str, criterion: str, kind: str, people: int) -> dict[str, Any]:
    """What a cell says: flips, clean flips, efforts; searched unless its folder has as many people."""
    folder = OUT / "own" / classifier / criterion / kind
    with initialize_config_module("ice_lightning.conf", version_base="1.3"):
        settings = [
            "task=explain", f"classifier={classifier}", f"subspace={subspace(criterion)}", "logger=none",
            f"explain.people={people}", f"explain.seed={SEED}", f"run_dir={folder}",
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


def main() -> None:
    """Every cell that isn't in own.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=48)
    parser.add_argument("--cells", nargs="*", default=CELLS)
    args = parser.parse_args()
    keep_freed_memory()
    file = HERE / "own.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for cell in args.cells:
        for kind in KINDS:
            if kind in results.get(cell, {}):
                continue
            results.setdefault(cell, {})[kind] = rates(*cell.split("/"), kind, args.people)
            write_json(file, results)
            print(cell, kind, {k: x for k, x in results[cell][kind].items() if "flipped" not in k}, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

"""How much of the average should precondition a person's search? Products and what they find, on people of no table.

python experiments/local/preconditioner.py
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from study import problem_of

from ice_lightning import load_generator, load_subspace
from ice_lightning.discovery.local import LocalProblem, find_local
from ice_lightning.files import write_json
from ice_lightning.solvers import local

HERE, PEOPLE, SEED, COUNT = Path(__file__).parent, 4, 2_500_000, 8
TRIALS = [
    {"TOPS": tops, "SHARE": share, "TOLERANCE": 0.1}
    for tops, share in ((0, 0.02), (4, 0.02), (8, 0.02), (16, 0.02), (32, 0.02), (8, 0.0), (8, 0.1), (8, 1.0))
] + [{"TOPS": 8, "SHARE": 0.02, "TOLERANCE": tolerance} for tolerance in (0.2, 0.05, 0.03)]
"""Settings of solvers.local; 0 tops and no share is a search that knows nothing of the average but its directions."""
BEST = {"TOPS": 8, "SHARE": 0.02, "TOLERANCE": 0.005, "BLOCKS": 40}
"""What the others are compared with."""


def searched(problem: LocalProblem, u: torch.Tensor, settings: dict[str, Any]) -> dict[str, Any]:
    """People's searches under other settings."""
    before = {name: getattr(local, name) for name in settings}
    began = time.process_time()
    try:
        for name, value in settings.items():
            setattr(local, name, value)
        found = find_local(problem, u, COUNT)
    finally:
        for name, value in before.items():
            setattr(local, name, value)
    return {
        "seconds": round((time.process_time() - began) / len(u), 2),
        "products": float(found.products.float().mean()),
        "values": found.values.sum(1).tolist(),
        "first": found.values.amax(1).tolist(),
    }


def main() -> None:
    """Every trial of every preset, into preconditioner.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", default=["skin_color", "mouth_shape", "eye_shape"])
    parser.add_argument("--work", type=Path, default=Path("outputs/local/population"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    G, rows = load_generator("embedded"), {}
    for name in args.presets:
        subspace = load_subspace(args.work / name)
        problem, u = problem_of(name, subspace, G), G.people(PEOPLE, SEED, subspace.space)
        best = searched(problem, u, BEST)
        rows[name] = [BEST | {"seconds": best["seconds"], "products": best["products"], "share": 1.0}]
        for trial in TRIALS:
            found = searched(problem, u, trial)
            share = [a / b for a, b in zip(found["values"], best["values"], strict=True)]
            row = trial | {"seconds": found["seconds"], "products": found["products"], "share": round(min(share), 4)}
            rows[name].append(row)
            print(name, row, flush=True)
            write_json(HERE / "preconditioner.json", rows, indent=1)


if __name__ == "__main__":
    main()

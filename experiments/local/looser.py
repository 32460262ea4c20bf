"""How much should what a person's search suppresses be charged? On people of no table, judged by the second readers.

python experiments/local/looser.py mouth_shape
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from individuals import Individuals, true_moves
from prior import PEOPLE, SEED, sides
from study import READABLE, Measured, ideal, problem_of, straight

from ice_lightning import load_subspace
from ice_lightning.discovery.local import LocalProblem, find_local
from ice_lightning.files import write_json
from ice_lightning.synthetic import FACTORS

HERE = Path(__file__).parent
SHARES = (1.0, 0.1, 0.01, 0.003)
"""Of the average's charges; a tenth is what ratios ten times as large would charge."""


def charged(problem: LocalProblem, share: float) -> LocalProblem:
    """A problem whose suppressed terms are charged a share of what they are."""
    average = problem.average
    charges = {i: share * charge for i, charge in average.charges.items()}
    return replace(problem, average=replace(average, charges=charges, M=average.M * share**0.5))


def main() -> None:
    """Every share of every preset that isn't in looser.json yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="+")
    parser.add_argument("--work", type=Path, default=Path("outputs/local/population"))
    args = parser.parse_args()
    people, file = Individuals(PEOPLE, SEED), HERE / "looser.json"
    truth, rows = true_moves(people, FACTORS), json.loads(file.read_text()) if file.exists() else {}
    readable = json.loads((HERE / "results/readable.json").read_text())
    names = [name for name, r in readable.items() if r >= READABLE]
    for name in args.presets:
        subspace, measured = load_subspace(args.work / name), Measured(people, name, truth, names)
        problem, measured.ideal = problem_of(name, subspace, people.G), ideal(people, name, truth, names)[1]
        found: dict[str, Any] = rows.setdefault(name, {})
        if "average" not in found:
            average = subspace.directions.to(people.u).expand(PEOPLE, -1, -1)
            found["average"] = sides(straight(measured, average, None, 1)["0"])
        for share in SHARES:
            if str(share) in found:
                continue
            own = find_local(charged(problem, share), people.u, 2)
            products = {"products": float(own.products.float().mean())}
            found[str(share)] = sides(straight(measured, own.directions, own, 1)["0"]) | products
            write_json(file, rows, indent=1)
            print(name, share, {side: x["ratio beyond"] for side, x in found[str(share)].items() if side != "products"})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

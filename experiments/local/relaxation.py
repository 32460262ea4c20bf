"""How much less should a single person's own energies be charged? On people of no table, by the second readers.

python experiments/local/relaxation.py mouth_shape skin_color
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from individuals import Individuals, true_moves
from prior import PEOPLE, SEED, sides
from study import READABLE, Measured, ideal, problem_of, straight

from ice_lightning import load_subspace
from ice_lightning.discovery.local import find_local
from ice_lightning.files import write_json
from ice_lightning.synthetic import FACTORS

HERE = Path(__file__).parent
TRIED = (1, 10, 100)
BETTER = 1.5
"""A preset is relaxed where that makes people's moves so many times as clean. Sixteen people don't show less: with 1.25
gaze (10) and pose (100) would be relaxed too, and on other people neither was any cleaner for it."""


def cleanness(sides: dict[str, Any]) -> float:
    """The geometric mean of the ratios of both sides and strengths."""
    return math.exp(sum(math.log(x["ratio beyond"]) for side, x in sides.items() if side != "products") / 4)


def choice(found: dict[str, Any]) -> str:
    """The relaxation that a preset should have, among those that were measured."""
    best = max((key for key in found if key != "average"), key=lambda key: cleanness(found[key]))
    return best if cleanness(found[best]) >= BETTER * cleanness(found["1"]) else "1"


def main() -> None:
    """Every relaxation of every preset that isn't in relaxation/ yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="+")
    parser.add_argument("--tried", nargs="*", type=int, default=list(TRIED))
    parser.add_argument("--work", type=Path, default=Path("outputs/local/population"))
    args = parser.parse_args()
    people = Individuals(PEOPLE, SEED)
    truth = true_moves(people, FACTORS)
    readable = json.loads((HERE / "results/readable.json").read_text())
    names = [name for name, r in readable.items() if r >= READABLE]
    for name in args.presets:
        subspace, measured = load_subspace(args.work / name), Measured(people, name, truth, names)
        measured.ideal = ideal(people, name, truth, names)[1]
        file = HERE / "relaxation" / f"{name}.json"
        found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        if "average" not in found:
            average = subspace.directions.to(people.u).expand(PEOPLE, -1, -1)
            found["average"] = sides(straight(measured, average, None, 1)["0"])
        for times in args.tried:
            if str(times) not in found:
                own = find_local(problem_of(name, subspace, people.G, times), people.u, 2)
                products = {"products": float(own.products.float().mean())}
                found[str(times)] = sides(straight(measured, own.directions, own, 1)["0"]) | products
                write_json(file, found, indent=1)
        clean = {key: round(cleanness(row), 2) for key, row in found.items()}
        print(name, clean, "->", choice(found), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

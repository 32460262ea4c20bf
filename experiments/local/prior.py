"""How far should a person's search lean on the average? On people of no table, judged by the second readers.

python experiments/local/prior.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from individuals import Individuals, true_moves
from study import FIRST, READABLE, STRENGTHS, Measured, ideal, problem_of, rounded, straight

from ice_lightning import load_subspace
from ice_lightning.discovery.local import find_local
from ice_lightning.files import write_json
from ice_lightning.solvers import local
from ice_lightning.synthetic import FACTORS

HERE, PEOPLE, SEED = Path(__file__).parent, 16, 2_600_000
PRIORS = (0.0, 0.1, 0.3, 1.0, 3.0)
"""Of `solvers.local.PRIOR`."""


def sides(row: dict[str, Any]) -> dict[str, Any]:
    """What stands in the table of a direction, without the people."""
    names = [f"{side} {t}" for side in ("plus", "minus") for t in STRENGTHS]
    return {name: rounded({key: x for key, x in row[name].items() if key != "people"}) for name in names}


def main() -> None:
    """Every prior of every preset that isn't in prior.json yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=list(FIRST[:4]))
    parser.add_argument("--work", type=Path, default=Path("outputs/local/population"))
    args = parser.parse_args()
    people, file = Individuals(PEOPLE, SEED), HERE / "prior.json"
    truth, rows = true_moves(people, FACTORS), json.loads(file.read_text()) if file.exists() else {}
    readable = json.loads((HERE / "results/readable.json").read_text())
    names = [name for name, r in readable.items() if r >= READABLE]
    for name in args.presets:
        if name in rows:
            continue
        subspace, measured = load_subspace(args.work / name), Measured(people, name, truth, names)
        problem, measured.ideal = problem_of(name, subspace, people.G, 1), ideal(people, name, truth, names)[1]
        average = subspace.directions.to(people.u).expand(PEOPLE, -1, -1)
        found: dict[str, Any] = {"average": sides(straight(measured, average, None, 1)["0"])}
        before = local.PRIOR
        for prior in PRIORS:
            local.PRIOR = prior
            own = find_local(problem, people.u, 2)
            local.PRIOR = before
            products = {"products": float(own.products.float().mean())}
            found[str(prior)] = sides(straight(measured, own.directions, own, 1)["0"]) | products
            print(
                name, prior, {side: x["median beyond"] for side, x in found[str(prior)].items() if side != "products"}
            )
        rows[name] = found
        write_json(file, rows, indent=1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

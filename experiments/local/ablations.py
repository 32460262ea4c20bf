"""What an average of fewer or more people, or a hard projection, changes; and how far people's own directions differ.

python experiments/local/ablations.py [skin_color mouth_shape]

On people of no table, judged by the second readers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from individuals import Individuals, true_moves
from prior import PEOPLE, SEED, sides
from study import READABLE, Measured, ideal, problem_of, rounded, straight
from torch import Tensor
from torch.nn.functional import normalize

from ice_lightning import load_subspace
from ice_lightning.discovery.local import find_local
from ice_lightning.files import write_json
from ice_lightning.population import Geometry
from ice_lightning.run import run
from ice_lightning.subspace import FILE, Subspace
from ice_lightning.synthetic import FACTORS

HERE = Path(__file__).parent
AVERAGES = {
    "2 people": (2, "soft"),
    "8 people": (8, "soft"),
    "32 people": (32, "soft"),
    "8 people, hard": (8, "early"),
}
"""How many people are behind an average, and its projection."""


def average(name: str, label: str, work: Path) -> Subspace:
    """A preset's average directions, searched where they aren't there."""
    people, projection = AVERAGES[label]
    folder = work / f"{name}_{people}_{projection}"
    if not (folder / FILE).exists():
        with initialize_config_module("ice_lightning.conf", version_base="1.3"):
            settings = [f"criterion={name}", f"latents.count={people}", f"criterion.projection={projection}"]
            run(compose("config", [*settings, "criterion.rank=8", "logger=none", f"run_dir={folder}"]))
    return load_subspace(folder)


def angles(V: Tensor, average: Tensor, metric: Geometry) -> dict[str, float]:
    """Median cosines of directions (N, n) with each other and with the average one (n,), in the metric.

    Beside them the size that the cosine of two random directions has in the median.
    """
    x, a = (normalize(metric.coordinates(each).double(), dim=1) for each in (V, average[None]))
    i, j = torch.triu_indices(len(x), len(x), 1)
    between, moving = (x[i] * x[j]).sum(1), int((x != 0).any(0).sum())
    chance = 0.6745 * moving**-0.5
    return {"between": float(between.median()), "average": float((x @ a[0]).median()), "chance": chance}


def main() -> None:
    """Every cell that isn't in ablations.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=["skin_color", "mouth_shape"])
    parser.add_argument("--work", type=Path, default=Path("outputs/local/ablations"))
    args = parser.parse_args()
    people, file = Individuals(PEOPLE, SEED), HERE / "ablations.json"
    truth, rows = true_moves(people, FACTORS), json.loads(file.read_text()) if file.exists() else {}
    readable = json.loads((HERE / "results/readable.json").read_text())
    names = [name for name, r in readable.items() if r >= READABLE]
    for name in args.presets:
        measured = Measured(people, name, truth, names)
        measured.ideal = ideal(people, name, truth, names)[1]
        for label, (_, projection) in AVERAGES.items():
            if label in rows.get(name, {}):
                continue
            subspace = average(name, label, args.work)
            V = subspace.directions.to(people.u).expand(PEOPLE, -1, -1)
            found: dict[str, Any] = {"average": sides(straight(measured, V, None, 1)["0"])}
            if projection == "soft":
                own = find_local(problem_of(name, subspace, people.G), people.u, 2)
                found["own"] = sides(straight(measured, own.directions, own, 1)["0"])
                found["products"] = float(own.products.float().mean())
                found["cosines"] = rounded(angles(own.directions[:, :, 0], V[0, :, 0], measured.metric))
            rows.setdefault(name, {})[label] = found
            write_json(file, rows, indent=1)
            print(name, label, {kind: {side: x["ratio beyond"] for side, x in each.items()}
                                for kind, each in found.items() if kind in ("average", "own")},
                  found.get("cosines"), flush=True)  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

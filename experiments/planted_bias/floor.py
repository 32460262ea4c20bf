"""What would another floor of the population metric's eigenvalues change?

    python experiments/planted_bias/floor.py

The metric counts no eigenvalue of a layer's covariance as less than a share of their mean. For three such shares: how
many of 32 people flip within a named and within random subspaces, and how far; floor.json.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ice_lightning import load_generator, load_subspace
from ice_lightning.checkpoints import ASSETS
from ice_lightning.classifiers import embedded_classifier
from ice_lightning.counterfactuals.bases import named_basis, random_bases
from ice_lightning.counterfactuals.gradient import Gradient
from ice_lightning.explanation.search import search
from ice_lightning.files import write_json
from ice_lightning.launch import keep_freed_memory
from ice_lightning.population import geometry, layer_covariances, moving_layers

FLOORS = (1e-3, 1e-4, 1e-5)
NAMED = {"smiling": "mouth_shape", "smiling_biased": "hair_color"}
PEOPLE, RANDOM = 32, 4


def main() -> None:
    """Search at every floor."""
    keep_freed_memory()
    G, found = load_generator("embedded"), {}
    U, blocks = G.people(PEOPLE, 1_000_000, "s"), layer_covariances(G, "s")

    def draw(v: torch.Tensor) -> torch.Tensor:
        return G(v, "s").clamp(0, 1)

    with torch.no_grad():
        images = torch.cat([draw(part) for part in U.split(8)])
    for name, criterion in NAMED.items():
        classifier = embedded_classifier(name)
        S = load_subspace(ASSETS / "subspaces" / f"{criterion}.safetensors")
        for floor in FLOORS:
            metric = geometry(blocks, moving_layers(S.directions, G.widths("s")), floor)
            bases = [named_basis(S.directions, metric)]
            bases += random_bases(geometry(blocks, floor=floor), S.directions.shape[1], RANDOM, seed=1)
            moves = [
                search(Gradient(), lambda v: classifier(draw(v)), draw, U, basis.to(U), images)[0]  # noqa: B023
                for basis in bases
            ]
            flips = [int(each.flipped.sum()) for each in moves]
            efforts = [each.t.norm(dim=1)[each.flipped].median() for each in moves if each.flipped.any()]
            found[f"{name}, {criterion}, {floor:g}"] = {
                "named": flips[0],
                "random": flips[1:],
                "median effort": [round(float(each), 3) for each in efforts],
            }
            print(name, floor, found[f"{name}, {criterion}, {floor:g}"], flush=True)
            write_json(Path(__file__).parent / "floor.json", found, indent=1)


if __name__ == "__main__":
    main()

"""What did the counterfactuals change? Colours by region and shapes of the mouth, on the first 48 people who flipped.

    python experiments/real_faces/changed.py

Reads what verdicts.py has left, and writes changed.json: mean absolute change of RGB in each region of the original,
and mean distance of readings in standard deviations of 256 people.
"""

from __future__ import annotations

import torch
from hydra.utils import instantiate
from sitters import OUTLINED, shape_of
from subspaces import DEVICE, HERE, WORK, composed

from ice_lightning.explanation.rows import load_explained
from ice_lightning.files import write_json
from ice_lightning.labels import REGIONS
from ice_lightning.modules.landmark_regions import UNSEEN
from ice_lightning.tasks.build import generator_from

PEOPLE, SEED = 48, 1_000_000
READINGS = ("mouth opening", "smile", "lip fullness", "mouth width", "eye opening", "face width")


@torch.no_grad()
def changed(generator: str, classifier: str, preset: str) -> dict[str, dict[str, float]]:
    """Colours and shapes that a classifier's counterfactuals in a subspace changed."""
    cfg = composed(generator, preset)
    G, faces = generator_from(cfg).to(DEVICE), instantiate(cfg.faces).to(DEVICE)
    population = G.people(256, SEED, cfg.space)
    rows = load_explained(WORK / f"explained_{generator}" / classifier / preset).rows
    some = rows.select(rows.named.flipped.nonzero()[:PEOPLE, 0])
    ends = some.moves.u.to(population), some.moves.end.to(population)
    x, other = (G(v, cfg.space).clamp(0, 1) for v in ends)
    parse, distance = faces.parser(x).argmax(1), (other - x).abs().mean(1)
    masks = {name: parse == REGIONS.index(name) for name in OUTLINED} | {"hair, ears, neck": parse == UNSEEN}
    before, after = (shape_of(faces.landmarks(image)) for image in (x, other))
    everyone = shape_of(faces.landmarks(G(population, cfg.space).clamp(0, 1)))
    return {
        "colours": {name: round(float(distance[mask].mean()), 4) for name, mask in masks.items()},
        "shapes": {k: round(float((after[k] - before[k]).abs().mean() / everyone[k].std()), 2) for k in READINGS},
    }


def main() -> None:
    """Of every explanation that is there."""
    found = {}
    for folder in sorted(WORK.glob("explained_*/*/*/metrics.json")):
        classifier, preset = folder.parts[-3], folder.parts[-2]
        generator = folder.parts[-4].removeprefix("explained_")
        found[f"{classifier}, {preset}, {generator}"] = changed(generator, classifier, preset)
        print(classifier, preset, generator, found[f"{classifier}, {preset}, {generator}"], flush=True)
    write_json(HERE / "changed.json", found, indent=1)


if __name__ == "__main__":
    main()

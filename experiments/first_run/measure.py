"""Does each preset change what its name says, and nothing else? On 64 people that no search has seen.

python experiments/first_run/measure.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from torch import Tensor

from ice_lightning import load_generator
from ice_lightning.criterions import Activate, Criterion
from ice_lightning.modules.discovery import Discovery
from ice_lightning.modules.faces import embedded
from ice_lightning.run import build_criterion, layers_of
from ice_lightning.synthetic import REGIONS, factor_index, factors_from_z, render

HERE = Path(__file__).parent
SKIN = ("skin", "l_ear", "r_ear", "nose", "neck")
COLOUR = {
    "skin_color": SKIN,
    "hair_color": ("hair",),
    "lip_color": ("u_lip", "l_lip"),
    "background": ("background",),
    "eye_color": ("l_eye", "r_eye"),
}
SHAPE = {"eye_shape": range(36, 48), "mouth_shape": range(48, 68), "face_boundary": range(17)}
POINTS = {
    "jaw": range(17),
    "brows": range(17, 27),
    "nose": range(27, 36),
    "eyes": range(36, 48),
    "mouth": range(48, 68),
}
PEOPLE, SEED, RANDOM = 64, 2_000_000, 20
COLOUR_TARGET, SHAPE_TARGET = 0.1, 3.0
"""Mean RGB distance of the wanted region; mean motion of the wanted landmarks, in % of the inter-ocular distance."""


class People:
    """Held-out people with their true parse maps, and what a move of their latents does to them."""

    def __init__(self) -> None:
        self.G, self.faces = load_generator("embedded"), embedded()
        z = self.G.sample(PEOPLE, SEED)
        self.parse = render(factors_from_z(z), 128).parse
        self.u = self.G.convert(z, "z", "s")
        self.image = self.draw(self.u)
        self.points = self.landmarks(self.image)
        self.eyes = (self.points[:, 36] - self.points[:, 45]).norm(dim=-1)

    def draw(self, u: Tensor) -> Tensor:
        """(N, n) -> (N, 3, H, W) in 0..1."""
        return torch.cat([self.G(part, "s").clamp(0, 1) for part in u.split(16)])

    def landmarks(self, image: Tensor) -> Tensor:
        """(N, 68, 2) in pixels."""
        return torch.cat([self.faces.landmarks(part) for part in image.split(16)])

    def moved(self, v: Tensor, strength: float) -> Tensor:
        """Everyone along v (n,)."""
        return self.draw(self.u + strength * v)

    def colour(self, image: Tensor, regions: tuple[str, ...]) -> float:
        """Mean over people who have at least 50 such pixels of the RGB distance that their mean colour moved."""
        mask = torch.isin(self.parse, torch.tensor([REGIONS.index(r) for r in regions])).float()[:, None]
        area = mask.sum((1, 2, 3))
        change = ((image - self.image) * mask).sum((2, 3)) / area.clamp_min(1)[:, None]
        return change.norm(dim=1)[area >= 50].mean().item() if (area >= 50).any() else float("nan")

    def motion(self, points: Tensor, ids: range) -> float:
        """Mean motion of some landmarks, in % of the inter-ocular distance."""
        return 100 * ((points - self.points)[:, ids].norm(dim=-1) / self.eyes[:, None]).mean().item()

    def rms(self, image: Tensor) -> float:
        """Change of the whole image."""
        return (image - self.image).square().mean().sqrt().item()


def reach(effect: Callable[[float], float], target: float, limit: float = 1e3) -> float:
    """The strength with effect(strength) = target, to 1 %; at most `limit`.

    Effects grow about in proportion to the strength, so that scaling by what is missing settles in a few steps.
    """
    strength = 1.0
    for _ in range(20):
        got = effect(strength)
        if abs(got - target) <= 0.01 * target:
            break
        strength = min(strength * max(0.1, min(10.0, target / max(got, 1e-9))), limit)
    return strength


def table(people: People, image: Tensor, name: str) -> dict[str, object]:
    """What an edit changed: the wanted thing, everything else, and their ratio."""
    points = people.landmarks(image)
    wanted_regions = COLOUR.get(name, ())
    others = {r: people.colour(image, (r,)) for r in REGIONS if r not in wanted_regions}
    others = {r: round(v, 5) for r, v in others.items() if v == v}
    motions = {group: round(people.motion(points, ids), 3) for group, ids in POINTS.items()}
    row: dict[str, object] = {"other_regions": others, "landmarks_percent": motions}
    row["all_landmarks_percent"] = round(people.motion(points, range(68)), 3)
    if name in COLOUR:
        wanted, rest = people.colour(image, wanted_regions), others
    else:
        own = next(group for group, ids in POINTS.items() if ids == SHAPE[name])
        wanted, rest = motions[own], {k: v for k, v in motions.items() if k != own}
    worst = max(rest, key=lambda k: rest[k])
    return row | {
        "wanted": round(wanted, 4),
        "worst_other": worst,
        "ratio": round(wanted / max(rest[worst], 1e-9), 2),
    }


@torch.no_grad()
def measure(people: People, V: Tensor, name: str) -> dict[str, object]:
    """Both signs of the top direction against random directions of the same effect on the whole image."""
    v = V[:, 0].float()

    def effect(strength: float) -> float:
        image = people.moved(v, strength)
        if name in COLOUR:
            return people.colour(image, COLOUR[name])
        return people.motion(people.landmarks(image), SHAPE[name])

    strength = reach(effect, COLOUR_TARGET if name in COLOUR else SHAPE_TARGET)
    plus, minus = people.moved(v, strength), people.moved(v, -strength)
    size, draw, ratios = people.rms(plus), torch.Generator().manual_seed(0), []
    for _ in range(RANDOM):
        r = torch.nn.functional.normalize(torch.randn(len(v), generator=draw), dim=0)
        s = reach(lambda t, r=r: people.rms(people.moved(r, t)), size)  # type: ignore[misc]
        ratios.append(table(people, people.moved(r, s), name)["ratio"])
    ratios.sort()
    return {
        "strength": round(strength, 3),
        "image_rms": round(size, 4),
        "plus": table(people, plus, name),
        "minus": table(people, minus, name),
        "random_ratio_median": ratios[RANDOM // 2],
        "random_ratio_max": ratios[-1],
    }


def discover(names: list[str], counts: list[int]) -> dict[str, dict[int, Discovery]]:
    """Every preset's subspace from the first 4, 16, ... people, as `ice_lightning.run` finds it.

    Who lacks a region that any of the presets needs is left out of all of them (people_used counts the rest).
    One Jacobian per person serves all presets: it holds the features of all their terms.
    """
    with initialize_config_module("ice_lightning.conf", version_base="1.3"):
        configs = {name: compose("config", [f"criterion={name}", "logger=none", "run_dir=."]) for name in names}
    cfg, faces = configs[names[0]], embedded()
    G, solver = load_generator(cfg.generator.checkpoint), instantiate(cfg.solver)
    criterions = {name: build_criterion(cfg.criterion, faces) for name, cfg in configs.items()}
    layers = {name: layers_of(cfg) for name, cfg in configs.items()}
    modules = {name: Discovery(G, faces, criterion, solver) for name, criterion in criterions.items()}
    terms = [term for module in modules.values() for term in module.terms]
    everything = Criterion("all", "", {str(i): Activate(term) for i, term in enumerate(terms)})
    shared = layers[names[0]] if len(set(layers.values())) == 1 else None
    together = Discovery(G, faces, everything, solver, layers=shared)
    people = G.convert(G.sample(max(counts), cfg.latents.seed), "z", "s")
    found: dict[str, dict[int, Discovery]] = {name: {} for name in names}
    for person, u in enumerate(people):
        together.add(person, u[None])
        print(f"person {person + 1} of {len(people)}", flush=True)
        if person + 1 in counts:
            factors = iter(together.factors)
            for name, criterion in criterions.items():
                module = Discovery(G, faces, criterion, solver, layers=layers[name])
                own = torch.isin(together.coordinates, module.coordinates)
                module.factors = [next(factors)[:, own] for _ in module.terms]
                module.people_used = together.people_used
                module.solve()
                found[name][person + 1] = module
    return found


@torch.no_grad()
def yardsticks(people: People, step: float = 0.25) -> dict[str, object]:
    """What the true skin tone does, in the renderer and in the generator through z; leaves renders in `people`."""
    z = people.G.sample(PEOPLE, SEED)
    factors, column = factors_from_z(z), factor_index("skin_tone")
    moved = factors.clone()
    moved[:, column] -= step * factors[:, column].sign()
    normal = z * z.square().mean(1, keepdim=True).rsqrt()
    normal[:, column] = torch.erfinv(moved[:, column].clamp(-0.999, 0.999)) * 2**0.5
    generated = table(people, people.draw(people.G.convert(normal, "z", "s")), "skin_color")
    people.image = render(factors, 128).image
    people.points = people.landmarks(people.image)
    return {"renderer": table(people, render(moved, 128).image, "skin_color"), "generator_by_z": generated}


def main() -> None:
    """Discover every preset, measure it, write results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", default=[*COLOUR, *SHAPE])
    parser.add_argument("--people", nargs="*", type=int, default=[8], help="how many people to discover with")
    args = parser.parse_args()
    found, file = discover(args.presets, args.people), HERE / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    with torch.no_grad():
        people = People()
    for name, counts in found.items():
        results.setdefault(name, {})
        for count, module in counts.items():
            row = measure(people, module.result.vectors, name)
            keys = ("rank", "suppressed_rank", "explained_energy", "leakage", "people_used")
            results[name][str(count)] = row | {key: module.metrics[key] for key in keys}
            file.write_text(json.dumps(results, indent=1) + "\n")
            sides = [(side["wanted"], side["worst_other"], side["ratio"]) for side in (row["plus"], row["minus"])]
            print(name, count, "people, rank", module.metrics["rank"], sides, "random", row["random_ratio_median"],
                  row["random_ratio_max"], flush=True)  # fmt: skip
    results["yardsticks"] = yardsticks(people)
    file.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

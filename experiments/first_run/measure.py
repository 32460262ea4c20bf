"""Does `skin_color` change the skin's colour, and nothing else? On 64 people that no search has seen.

python experiments/first_run/measure.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_module
from torch import Tensor

from ice_lightning import load_generator
from ice_lightning.faces.embedded import embedded_faces
from ice_lightning.labels import REGIONS
from ice_lightning.run import run
from ice_lightning.synthetic import factor_index, factors_from_z, render

HERE = Path(__file__).parent
SKIN = ("skin", "l_ear", "r_ear", "nose", "neck")
POINTS = {
    "jaw": range(17),
    "brows": range(17, 27),
    "nose": range(27, 36),
    "eyes": range(36, 48),
    "mouth": range(48, 68),
}
PEOPLE, SEED, RANDOM = 64, 2_000_000, 20
TARGET = 0.1
"""Mean RGB distance by which the skin is moved."""


class People:
    """Held-out people with their true parse maps, and what a move of their latents does to them."""

    def __init__(self) -> None:
        self.G, self.faces = load_generator("embedded"), embedded_faces()
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


def table(people: People, image: Tensor) -> dict[str, object]:
    """What an edit changed: the skin, everything else, and their ratio."""
    points = people.landmarks(image)
    others = {r: people.colour(image, (r,)) for r in REGIONS if r not in SKIN}
    others = {r: round(v, 5) for r, v in others.items() if v == v}
    motions = {group: round(people.motion(points, ids), 3) for group, ids in POINTS.items()}
    wanted, worst = people.colour(image, SKIN), max(others, key=lambda k: others[k])
    return {
        "other_regions": others,
        "landmarks_percent": motions,
        "all_landmarks_percent": round(people.motion(points, range(68)), 3),
        "wanted": round(wanted, 4),
        "worst_other": worst,
        "ratio": round(wanted / max(others[worst], 1e-9), 2),
    }


@torch.no_grad()
def measure(people: People, V: Tensor) -> dict[str, object]:
    """Both signs of the top direction against random directions of the same effect on the whole image."""
    v = V[:, 0].float()

    strength = reach(lambda t: people.colour(people.moved(v, t), SKIN), TARGET)
    plus, minus = people.moved(v, strength), people.moved(v, -strength)
    size, draw, ratios = people.rms(plus), torch.Generator().manual_seed(0), []
    for _ in range(RANDOM):
        r = torch.nn.functional.normalize(torch.randn(len(v), generator=draw), dim=0)
        s = reach(lambda t, r=r: people.rms(people.moved(r, t)), size)  # type: ignore[misc]
        ratios.append(table(people, people.moved(r, s))["ratio"])
    ratios.sort()
    return {
        "strength": round(strength, 3),
        "image_rms": round(size, 4),
        "plus": table(people, plus),
        "minus": table(people, minus),
        "random_ratio_median": ratios[RANDOM // 2],
        "random_ratio_max": ratios[-1],
    }


@torch.no_grad()
def yardsticks(people: People, step: float = 0.25) -> dict[str, object]:
    """What the true skin tone does, in the renderer and in the generator through z; leaves renders in `people`."""
    z = people.G.sample(PEOPLE, SEED)
    factors, column = factors_from_z(z), factor_index("skin_tone")
    moved = factors.clone()
    moved[:, column] -= step * factors[:, column].sign()
    normal = z * z.square().mean(1, keepdim=True).rsqrt()
    normal[:, column] = torch.erfinv(moved[:, column].clamp(-0.999, 0.999)) * 2**0.5
    generated = table(people, people.draw(people.G.convert(normal, "z", "s")))
    people.image = render(factors, 128).image
    people.points = people.landmarks(people.image)
    return {"renderer": table(people, render(moved, 128).image), "generator_by_z": generated}


def main() -> None:
    """Discover as a user would, measure, write results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", nargs="*", type=int, default=[32], help="how many people to discover with")
    args = parser.parse_args()
    file, found = HERE / "results.json", {}
    for count in args.people:
        with initialize_config_module("ice_lightning.conf", version_base="1.3"):
            settings = [
                "criterion=skin_color",
                "logger=none",
                f"latents.count={count}",
                f"run_dir=outputs/first/{count}",
            ]
            found[str(count)] = run(compose("config", settings))
    results = {"skin_color": {}, "yardsticks": {}}
    with torch.no_grad():
        people = People()
    for count, result in found.items():
        row = measure(people, result.subspace.directions)
        keys = ("rank", "suppressed_rank", "explained_energy", "leakage", "people_used")
        results["skin_color"][count] = row | {key: result.metrics[key] for key in keys}
        sides = [(side["wanted"], side["worst_other"], side["ratio"]) for side in (row["plus"], row["minus"])]
        random = row["random_ratio_median"], row["random_ratio_max"]
        print(count, "people, rank", result.metrics["rank"], sides, "random", random, flush=True)
    results["yardsticks"] = yardsticks(people)
    file.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

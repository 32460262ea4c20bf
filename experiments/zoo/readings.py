"""What an edit moved, in one unit: measures of the face and mean colours of regions, in sigmas of the population."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ice_lightning import load_generator
from ice_lightning.criterions.frequency import high_pass
from ice_lightning.criterions.landmarks import gaze_of, pose_of
from ice_lightning.criterions.regions import region_mask
from ice_lightning.faces.embedded import embedded_faces
from ice_lightning.labels import REGIONS
from ice_lightning.modules.faces import Faces
from ice_lightning.synthetic import factor_index, factors_from_z, render

SMALLEST = 50
"""Pixels of 128 x 128 that a region needs in a person, for its colour to be read there."""
POPULATION = 512
"""Renders of other people from whom the units are taken."""
STRONG = 1 / 3
"""See come_along."""
AREAS = {"hair area": ("hair",), "glasses": ("eye_g",), "brow area": ("l_brow", "r_brow")}


def shape_of(points: Tensor) -> dict[str, Tensor]:
    """Sizes and places that a person would name, in pixels of the upright face: (N, 68, 2) -> each (N,)."""
    left, right = points[:, 36:42].mean(1), points[:, 42:48].mean(1)
    middle, across = (left + right) / 2, right - left
    apart = across.norm(dim=1)
    unit = across / apart[:, None]
    turned = torch.stack([unit, torch.stack([-unit[:, 1], unit[:, 0]], 1)], 1)
    x, y = ((points - middle[:, None]) @ turned.transpose(1, 2)).unbind(-1)
    return {
        "face width": x[:, 16] - x[:, 0],
        "jaw width": x[:, 12] - x[:, 4],
        "face length": y[:, 8],
        "eye spacing": apart,
        "eye width": (x[:, 39] - x[:, 36] + x[:, 45] - x[:, 42]) / 2,
        "eye opening": (y[:, [40, 41, 46, 47]].sum(1) - y[:, [37, 38, 43, 44]].sum(1)) / 4,
        "brow height": -y[:, 17:27].mean(1),
        "brow slant": (y[:, [20, 21, 22, 23]].sum(1) - y[:, [17, 18, 25, 26]].sum(1)) / 4,
        "mouth width": x[:, 54] - x[:, 48],
        "mouth opening": y[:, 66] - y[:, 62],
        "smile": (y[:, 51] + y[:, 57] - y[:, 48] - y[:, 54]) / 2,
        "lip fullness": y[:, 57] - y[:, 66] + y[:, 62] - y[:, 51],
    }


def extent_of(weight: Tensor) -> dict[str, Tensor]:
    """Four times the standard deviation of a soft mask (N, H, W) down and across: its length and width, in pixels."""
    found = {}
    for name, axis in (("nose length", 2), ("nose width", 1)):
        share = weight.sum(axis) / weight.sum((1, 2)).clamp_min(1e-6)[:, None]
        at = torch.arange(share.shape[1], dtype=weight.dtype)
        mean = (share * at).sum(1, keepdim=True)
        found[name] = 4 * (share * (at - mean).square()).sum(1).sqrt()
    return found


class People:
    """Held-out people with their true parse maps, and what a move of their latents does to every reading.

    Readings are `shape_of`, head pose, gaze, areas as the parser sees them, the strength of the skin's texture, the
    identity embedding, and the mean colour of each region under the person's true parse map ("u_lip pixels"). Each
    motion is divided by the reading's standard deviation over renders of POPULATION other people (of a vector: the
    root of the mean squared distance from its mean); that of a colour by the mean over all regions, so that a change
    that looks the same counts the same.

    Args:
        people: how many.
        seed: of the first; far from those that any search draws.
        space: of the latents.
        faces: what reads; the embedded networks by default.
    """

    def __init__(self, people: int = 64, seed: int = 3_000_000, space: str = "s", faces: Faces | None = None) -> None:
        self.G, self.faces, self.space = load_generator("embedded"), faces or embedded_faces(), space
        self.z = self.G.sample(people, seed)
        with torch.no_grad():
            self.u = self.G.convert(self.z, "z", space)
            spread = self.read(self.portraits(self.G.sample(POPULATION, 5_000_000)))
            self.true_base = self.read(self.portraits(self.z))
            self.base = self.read(self.draw(self.u))
        far = {name: value - value.nanmean(0, keepdim=True) for name, value in spread.items()}
        self.sigma = {name: value.square().sum(1).nanmean().sqrt() for name, value in far.items()}
        colours = [name for name in self.sigma if name.endswith(" pixels")]
        self.sigma |= dict.fromkeys(colours, torch.stack([self.sigma[name] for name in colours]).mean())

    def portraits(self, z: Tensor) -> Tensor:
        """True portraits (N, 3, 128, 128) of z; readings are under their parse maps from here on."""
        factors = factors_from_z(z)
        portraits = render(factors, 128)
        self.parse = portraits.parse
        # Just below the threshold of the glasses the generator draws a ghost of a frame on what is truly skin.
        self.ghost = (factors[:, factor_index("glasses")] - 0.33).abs() < 0.15
        return portraits.image

    def draw(self, u: Tensor) -> Tensor:
        """(N, n) -> (N, 3, H, W) in 0..1."""
        return torch.cat([self.G(part, self.space).clamp(0, 1) for part in u.split(16)])

    def read(self, image: Tensor) -> dict[str, Tensor]:
        """Every reading of (N, 3, H, W), each (N, d); NaN where a region is too small."""
        points = torch.cat([self.faces.landmarks(part) for part in image.split(16)])
        classes = torch.cat([self.faces.parser(part).softmax(1) for part in image.split(16)])
        parse = classes.argmax(1)
        eyes = torch.stack([parse == REGIONS.index(name) for name in ("l_eye", "r_eye")], 1).float()
        scalars = shape_of(points) | pose_of(points) | gaze_of(image, eyes)
        for name, regions in AREAS.items():
            scalars[name] = classes[:, [REGIONS.index(r) for r in regions]].sum((1, 2, 3))
        scalars |= extent_of(classes[:, REGIONS.index("nose")])
        scalars["texture"] = self.texture(image)
        found = {name: value[:, None] for name, value in scalars.items()}
        found["identity"] = torch.cat([self.faces.identity(part) for part in image.split(16)])  # type: ignore[misc]
        for index, name in enumerate(REGIONS):
            mask = (self.parse == index)[:, None].float()
            area = mask.sum((2, 3))
            if (area >= SMALLEST).any():
                colour = (image * mask).sum((2, 3)) / area.clamp_min(1)
                found[f"{name} pixels"] = torch.where(area >= SMALLEST, colour, torch.nan)
        return found

    def texture(self, image: Tensor) -> Tensor:
        """Root mean square of the skin's detail, over its own brightness: (N,); NaN without a clear view of it."""
        skin = region_mask(self.parse, ["skin"], erode=0.05)[:, None]
        fine = high_pass(image, 24, relative=True) * skin
        count = skin.sum((1, 2, 3))
        return torch.where(
            (count >= 10 * SMALLEST) & ~self.ghost, (fine.square().sum((1, 2, 3)) / count).sqrt(), torch.nan
        )

    def moved(self, image: Tensor, base: Mapping[str, Tensor] | None = None) -> dict[str, float]:
        """Mean distance over people of every reading from where it was, in sigmas."""
        now, before = self.read(image), base or self.base
        return {k: ((now[k] - before[k]).norm(dim=1).nanmean() / self.sigma[k]).item() for k in self.base}

    def along(self, v: Tensor, strength: float) -> dict[str, float]:
        """`moved` by a step of everyone along v (n,)."""
        return self.moved(self.draw(self.u + strength * v))


@torch.no_grad()
def true_moves(people: People, names: Iterable[str], step: float = 0.3) -> dict[str, dict[str, float]]:
    """What each factor moves when the renderer itself moves it by `step` towards its middle; glasses go on or off."""
    factors, moves = factors_from_z(people.z), {}
    for name in names:
        moved, column = factors.clone(), factor_index(name)
        moved[:, column] -= step * factors[:, column].sign()
        if name == "glasses":
            moved[:, column] = torch.where(factors[:, column] > 0.33, -1.0, 1.0)
        moves[name] = people.moved(render(moved, 128).image, people.true_base)
    return moves


def come_along(
    own: Iterable[str], factors: Iterable[str], moves: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """How far each other reading truly moves for every unit that the own one moves: the most over the factors.

    Factors that move no own reading by STRONG of what the strongest of them does are left out: their shares are noise.
    """
    own, factors = set(own), list(factors)
    reached = {name: max(moves[name][k] for k in own) for name in factors}
    strong = [name for name in factors if reached[name] >= STRONG * max(reached.values())]
    readings = set(moves[strong[0]]) - own
    return {k: max(moves[name][k] / reached[name] for name in strong) for k in readings}


def verdict(moved: Mapping[str, float], own: Iterable[str], along: Mapping[str, float]) -> dict[str, Any]:
    """The own reading that moved most, the others that moved most beyond what comes along, and the ratio."""
    target = max(own, key=lambda k: moved[k])
    others = {k: max(0.0, moved[k] - share * moved[target]) for k, share in along.items()}
    worst = sorted(others, key=lambda k: -others[k])[:3]
    return {
        "target": target,
        "moved": round(moved[target], 3),
        "others": {k: round(others[k], 3) for k in worst},
        "ratio": round(moved[target] / max(others[worst[0]], 1e-9), 2),
    }


def reach(effect: Callable[[float], float], target: float, limit: float = 1e3) -> float:
    """The strength with effect(strength) = target, to 3 %; at most `limit`.

    Effects grow about in proportion to the strength, so that scaling by what is missing settles in a few steps.
    """
    strength = 1.0
    for _ in range(15):
        got = effect(strength)
        if abs(got - target) <= 0.03 * target:
            break
        strength = min(strength * max(0.2, min(5.0, target / max(got, 1e-9))), limit)
    return strength

"""People whom no search has seen, and what a move of their latents does to all that landmarks and features can tell.

Readings are those of experiments/zoo that need no true parse map: sizes and places of the features, head pose, the
identity embedding, the strength of the skin's texture, and the mean colour of every region that landmarks outline,
under the person's own, unmoved outline. Each motion is divided by the reading's standard deviation over other people of
the same generator; that of a colour by the mean over all regions, so that what looks the same counts the same.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ice_lightning.criterions.frequency import high_pass
from ice_lightning.criterions.landmarks import pose_of
from ice_lightning.criterions.regions import region_mask
from ice_lightning.labels import REGIONS
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.modules.landmark_regions import UNSEEN

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))
from discover import discover, image_jacobian, term_rows
from readings import reach, shape_of

__all__ = ["Sitters", "apart", "discover", "image_jacobian", "reach", "shape_of", "term_rows"]

SMALLEST = 12
"""Pixels that a region needs in a person, for its colour to be read there."""
DARK = 0.05
"""Means are taken to be this bright at least, where a colour is multiplied."""
POPULATION, SEED, OTHERS = 512, 3_000_000, 5_000_000
OUTLINED = ("background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "nose", "mouth", "u_lip", "l_lip")
"""What landmarks outline."""


class Sitters:
    """Held-out people of a generator in one space.

    Args:
        generator: draws them.
        faces: see `faces=landmarks`.
        space: of their latents.
        people: how many.
        seed: of the first.
    """

    def __init__(self, generator: AnyGenerator, faces: Faces, space: str, people: int = 64, seed: int = SEED) -> None:
        self.G, self.faces, self.space = generator, faces, space
        with torch.no_grad():
            self.u = generator.people(people, seed, space)
            self.images = self.draw(self.u)
            self.parse = self.outline(self.images)
            self.base = self.read(self.images, self.parse)
            others = self.draw(generator.people(POPULATION, OTHERS, space))
            spread = self.read(others, self.outline(others))
        far = {name: value - value.nanmean(0, keepdim=True) for name, value in spread.items()}
        self.sigma = {name: value.square().sum(1).nanmean().sqrt() for name, value in far.items()}
        colours = [name for name in self.sigma if name.endswith(" pixels")]
        self.sigma |= dict.fromkeys(colours, torch.stack([self.sigma[name] for name in colours]).mean())

    def draw(self, u: Tensor) -> Tensor:
        """(N, n) -> (N, 3, H, W) in 0..1."""
        return torch.cat([self.G(part, self.space).clamp(0, 1) for part in u.split(16)])

    def outline(self, image: Tensor) -> Tensor:
        """Parse maps (N, H, W)."""
        return torch.cat([self.faces.parser(part).argmax(1) for part in image.split(16)])

    def read(self, image: Tensor, parse: Tensor) -> dict[str, Tensor]:
        """Every reading of (N, 3, H, W), each (N, d); NaN where a region is too small."""
        points = torch.cat([self.faces.landmarks(part) for part in image.split(16)])
        scalars = shape_of(points) | pose_of(points)
        skin = region_mask(parse, ["skin"], erode=0.03)
        fine = high_pass(image, 24, relative=True).square().mean(1) * skin
        scalars["texture"] = (fine.sum((1, 2)) / skin.sum((1, 2))).sqrt()
        found = {name: value[:, None] for name, value in scalars.items()}
        if self.faces.identity is not None:
            found["identity"] = torch.cat([self.faces.identity(part) for part in image.split(16)])
        for name, number in [(name, REGIONS.index(name)) for name in OUTLINED] + [("hair, ears, neck", UNSEEN)]:
            mask = (parse == number)[:, None].float()
            area = mask.sum((2, 3))
            colour = (image * mask).sum((2, 3)) / area.clamp_min(1)
            found[f"{name} pixels"] = torch.where(area >= SMALLEST, colour, torch.nan)
        return found

    def moved(self, image: Tensor) -> dict[str, float]:
        """Mean distance over people of every reading of their changed pictures from where it was, in sigmas."""
        now = self.read(image, self.parse)
        return {k: ((now[k] - self.base[k]).norm(dim=1).nanmean() / self.sigma[k]).item() for k in self.base}

    def along(self, v: Tensor, strength: float) -> dict[str, float]:
        """How far every reading moves by a step along v (n,)."""
        return self.moved(self.draw(self.u + strength * v))

    def repainted(self, v: Tensor, strength: float, regions: Sequence[str]) -> dict[str, float]:
        """How far every reading moves by that step's mean colours of regions alone."""
        return self.moved(self.repaint(self.draw(self.u + strength * v), torch.arange(len(self.u)), regions))

    def repaint(self, after: Tensor, rows: Tensor, regions: Sequence[str]) -> Tensor:
        """Pictures (N, 3, H, W) of the people `rows` with the mean colours that regions have in `after`.

        The pixels of a region are multiplied by what takes its mean to that of `after`; nothing else is touched. An
        ideal edit of colour moves readings this much, since networks that read identity, sizes and places read colours
        too.
        """
        before = image = self.images[rows]
        for name in regions:
            mask = (self.parse[rows] == REGIONS.index(name))[:, None].float()
            area = mask.sum((2, 3), keepdim=True).clamp_min(1)
            was, now = ((each * mask).sum((2, 3), keepdim=True) / area for each in (before, after))
            image = image * (1 + mask * (now / was.clamp_min(DARK) - 1))
        return image.clamp(0, 1)

    def random_moves(self, count: int = 20, rms: float = 0.03) -> list[dict[str, float]]:
        """Readings along random directions, even in units of the population's deviations, of a given image change."""
        draw, moves = torch.Generator().manual_seed(0), []
        deviation = self.G.people(POPULATION, OTHERS, self.space).std(0)
        for _ in range(count):
            v = normalize(torch.randn(self.u.shape[1], generator=draw).to(deviation) * deviation, dim=0)

            def changed(t: float, v: Tensor = v) -> float:
                return (self.draw(self.u + t * v) - self.images).square().mean().sqrt().item()

            moves.append(self.along(v, reach(changed, rms)))
        return moves


def apart(
    moved: Mapping[str, float], own: list[str], free: list[str], ideal: Mapping[str, float] | None = None
) -> dict[str, float]:
    """What moved that should have stayed, from the farthest.

    Args:
        moved: of every reading, in sigmas.
        own: what the preset is to move.
        free: what can't but move with it.
        ideal: of every reading, by an edit of nothing else; what moves farther moves by the rest.
    """
    ideal = ideal or {}
    others = {k: max(0.0, x - ideal.get(k, 0.0)) for k, x in moved.items() if k not in own and k not in free}
    return dict(sorted(others.items(), key=lambda item: -item[1]))

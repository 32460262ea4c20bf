"""Clean flips: those that move nothing beyond what truly comes along with the thing that is named.

What comes along is what the face models read in an ideal edit: the original, in which only the place where the
criterion's activated terms look is that of the counterfactual. A clean flip moves no reading farther from that one than
LEAST deviations, or than SHARE of the criterion's own change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ice_lightning.criterions import Analysis, Criterion
from ice_lightning.explanation.outcomes import Clean
from ice_lightning.explanation.readings import NAMES, deviations_of, read
from ice_lightning.metrics import Proportion, proportion
from ice_lightning.modules.faces import Faces
from ice_lightning.parallel import one_by_one

LEAST, SHARE = 0.25, 0.2
"""No reading moves by more than the larger of so many deviations and this share of the own change."""
PEOPLE = 64
"""Over so many the deviations are taken, to a tenth of themselves."""


Flips = tuple[Tensor, Tensor]
"""Latents of counterfactuals (N, n), and who flips (N,) bool."""


@torch.no_grad()
def where(faces: Faces, criterion: Criterion, image: Tensor) -> Tensor | None:
    """Where in images the activated terms look.

    Args:
        faces: the face models.
        criterion: whose terms.
        image: (N, 3, H, W) in 0..1.

    Returns:
        (N, H, W) in 0..1; None where no term says.
    """
    analysis = Analysis(*faces.analyse(image))
    terms = [each.term for each in criterion.activate.values()]
    masks = [mask for term in terms if (mask := term.where(analysis)) is not None]
    return torch.stack(masks).amax(0) if masks else None


@dataclass(frozen=True, eq=False)
class CleanCheck:
    """What sees whether flips are clean.

    Attributes:
        draw: latents -> images (N, 3, H, W) in 0..1.
        faces: the face models.
        criterion: whose activated terms move what is named.
        deviations: of each reading over people, by name.
        own: that of the activated terms' features.
    """

    draw: Callable[[Tensor], Tensor]
    faces: Faces
    criterion: Criterion
    deviations: dict[str, Tensor]
    own: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls, draw: Callable[[Tensor], Tensor], faces: Faces, criterion: Criterion, population: Tensor
    ) -> CleanCheck | None:
        """With deviations over a population.

        Args:
            draw: see the class.
            faces: the face models.
            criterion: see the class.
            population: latents (P, n), of which the first PEOPLE count.

        Returns:
            None where the criterion looks everywhere.
        """
        images = [draw(part) for part in population[:PEOPLE].split(16)]
        if where(faces, criterion, images[0][:1]) is None:
            return None
        read_of, features = [], []
        for image in images:
            analysis = Analysis(*faces.analyse(image))
            read_of.append(read(faces, image, analysis.parse))
            features.append(_features(criterion, image, analysis))
        readings = {name: torch.cat([each[name] for each in read_of]) for name in read_of[0]}
        own = torch.cat(features)
        own = own[own.isfinite().all(1)]
        return cls(draw, faces, criterion, deviations_of(readings), (own - own.mean(0)).square().sum(1).mean().sqrt())

    @torch.no_grad()
    def __call__(self, image: Tensor, ends: Tensor, flipped: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Look at people and where they flip.

        Args:
            image: (N, 3, H, W) in 0..1.
            ends: latents of the counterfactuals (N, n).
            flipped: (N,) bool, others aren't looked at.

        Returns:
            Whether each is a clean flip (N,) bool; the own change (N,) and the excess of every reading (N, R), both in
            deviations, NaN for those who don't flip.
        """
        clean, own = torch.zeros_like(flipped), image.new_full((len(image),), torch.nan)
        excess = image.new_full((len(image), len(self.deviations)), torch.nan)
        places = flipped.nonzero()[:, 0]
        if len(places):
            parts = one_by_one(self._look, image[places], ends[places])
            own[places], excess[places] = (torch.cat(column) for column in zip(*parts, strict=True))
            allowed = (SHARE * own[places]).clamp_min(LEAST)
            clean[places] = (excess[places] <= allowed[:, None]).all(1)
        return clean, own, excess

    def rows(self, image: Tensor, found: Mapping[str, Flips], random: Sequence[Flips]) -> Clean:
        """Of everyone in the named subspace and the controls.

        Args:
            image: (N, 3, H, W) in 0..1.
            found: flips in the named subspace, of `weights` and `unrestricted`, those that ran.
            random: flips in each of M random subspaces.
        """
        clean, own, excess = self(image, *found["named"])
        others = {
            name: self(image, *flips)[0] if (flips := found.get(name)) else None for name in ("weights", "unrestricted")
        }
        each = [self(image, *flips)[0] for flips in random]
        return Clean(clean, own, excess, **others, random=torch.stack(each, 1) if each else None)

    def _look(self, image: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """The own change (N,) and the excess of every reading (N, R), in deviations."""
        other = self.draw(end)
        masks = [where(self.faces, self.criterion, each) for each in (image, other)]
        assert masks[0] is not None and masks[1] is not None
        ideal = torch.lerp(image, other, torch.maximum(masks[0], masks[1])[:, None])
        analysis = Analysis(*self.faces.analyse(image))
        here, there = (read(self.faces, each, analysis.parse) for each in (ideal, other))
        moved = [(there[k] - here[k]).norm(dim=1) / self.deviations[k] for k in self.deviations]
        # A region that somebody doesn't have, or in which nobody differs, moves nowhere.
        excess = torch.stack(moved, 1).nan_to_num(0.0, 0.0, 0.0)
        features = [_features(self.criterion, each, analysis) for each in (image, other)]
        return (features[1] - features[0]).norm(dim=1) / self.own, excess


def _features(criterion: Criterion, image: Tensor, analysis: Analysis) -> Tensor:
    """What the activated terms see (N, m), in the units of their energies."""
    return torch.cat([each.weight**0.5 * each.term(image, analysis) for each in criterion.activate.values()], 1)


@dataclass(frozen=True)
class CleanRates:
    """Shares of people with a clean flip; raw rates beside them are tested, these aren't.

    Attributes:
        named: in the named subspace.
        random: mean over random subspaces; None where there are none.
        controls: flip rates of `weights` and `unrestricted`.
        own: median change of what is named at a flip, in deviations; None where nobody flips.
        excess: median over people of the reading that moved most beside it, in deviations; None where nobody flips.
        reading: which that is most often.
    """

    named: Proportion
    random: float | None
    controls: dict[str, Proportion]
    own: float | None
    excess: float | None
    reading: str | None

    @classmethod
    def of(cls, clean: Clean, flipped: Tensor, applied: Tensor | None) -> CleanRates:
        """Of people with a finite score.

        Args:
            clean: of N people.
            flipped: (N,) bool, in the named subspace.
            applied: (N,) bool, to whom random subspaces were applied; None where to nobody.
        """

        def median(column: Tensor) -> float | None:
            return float(column.double().quantile(0.5)) if len(column) else None

        random = None
        if clean.random is not None and applied is not None and applied.any() and clean.random.shape[1]:
            random = float(clean.random[applied].double().mean())
        others = {"weights": clean.weights, "unrestricted": clean.unrestricted}
        controls = {name: proportion(each) for name, each in others.items() if each is not None}
        if not flipped.any():
            return cls(proportion(clean.named), random, controls, None, None, None)
        worst, which = clean.excess[flipped].max(1)
        reading = NAMES[int(which.mode().values)]
        return cls(proportion(clean.named), random, controls, median(clean.own[flipped]), median(worst), reading)

    def to_json(self) -> dict[str, Any]:
        """As in metrics.json."""
        controls = {name: each.to_json() for name, each in self.controls.items()}
        return {
            **self.named.to_json(),
            "random": self.random,
            "controls": controls,
            "own": self.own,
            "excess": self.excess,
            "reading": self.reading,
        }

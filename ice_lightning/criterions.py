"""The criterion zoo: what a person can name in an image, as pure functions of (image, analysis) and thin modules.

A term maps images (N, 3, H, W) to features (N, m). Masks come from the analysis and are held fixed while
differentiating. Features are scaled by the number of pixels, so that an energy is a mean square.
Terms, settings and the region vocabulary: Li et al. 2022 (arXiv 2201.09689) and its released notebooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.checks import at_least, one_of, problem, ratio
from ice_lightning.modules.layers import resize
from ice_lightning.synthetic import REGIONS


class Analysis(NamedTuple):
    """What the face models see in an image, without gradient.

    Attributes:
        parse: (N, H, W) int64, CelebAMask-HQ ids.
        landmarks: (N, 68, 2) in pixels, (x, y).
    """

    parse: Tensor
    landmarks: Tensor


def region_ids(regions: Sequence[str]) -> list[int]:
    """CelebAMask-HQ ids of region names; raises IceError with the nearest name."""
    at_least("regions", len(regions), 1)
    return [REGIONS.index(one_of("region", name, REGIONS)) for name in regions]


def landmark_ids(indices: str, complement: bool = False) -> list[int]:
    """Points of a list such as "0-16,27": 0..67, or all the others."""
    chosen: set[int] = set()
    for part in str(indices).split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise problem("landmark indices such as '48-67' or '0-16,27'", f"'{indices}'", "write numbers and ranges")
        low, high = int(first), int(last or first)
        if not 0 <= low <= high <= 67:
            raise problem("landmark indices from 0 to 67", f"'{part.strip()}'", "the 68 iBUG points are counted from 0")
        chosen |= set(range(low, high + 1))
    kept = [i for i in range(68) if (i in chosen) != complement]
    at_least("landmarks", len(kept), 1)
    return kept


def _disc(radius: int, device: torch.device) -> Tensor:
    r = torch.arange(-radius, radius + 1, device=device)
    return ((r[:, None] ** 2 + r[None] ** 2) <= radius**2 + 0.5).float()


def region_mask(
    parse: Tensor,
    regions: Sequence[str],
    outside: bool = False,
    dilate: float = 0,
    erode: float = 0,
    ring: float = 0,
) -> Tensor:
    """The pixels of some regions, grown, shrunk, turned inside out.

    Args:
        parse: (N, H, W) ids.
        regions: names.
        outside: the complement, after growing and shrinking.
        dilate: radius of a dilation, fraction of the side.
        erode: radius of an erosion, fraction of the side.
        ring: keep only a band of this width around the region, fraction of the side.

    Returns:
        (N, H, W) float, 0 or 1.
    """
    mask = torch.isin(parse, torch.tensor(region_ids(regions), device=parse.device)).float()[:, None]
    side = parse.shape[-1]
    if dilate or erode or ring:
        from kornia.morphology import dilation, erosion

        if dilate:
            mask = dilation(mask, _disc(round(dilate * side), mask.device))
        if erode:
            mask = erosion(mask, _disc(round(erode * side), mask.device))
        if ring:
            mask = dilation(mask, _disc(max(1, round(ring * side)), mask.device)) - mask
    return 1 - mask[:, 0] if outside else mask[:, 0]


def region_color(image: Tensor, weight: Tensor) -> Tensor:
    """Mean colour under a weight: (N, 3, S, S), (N, S, S) -> (N, 3)."""
    total = weight.sum((1, 2)).clamp_min(1e-6)
    return (image * weight[:, None]).sum((2, 3)) / total[:, None]


def region_residual(image: Tensor, weight: Tensor) -> Tensor:
    """The image without the region's mean colour: texture inside, everything outside; (N, 3 S S), scaled to a mean.

    What changes only the region's mean colour leaves this where it is.
    """
    rest = image - region_color(image, weight)[:, :, None, None] * weight[:, None]
    return rest.flatten(1) / (image.shape[-1])


def region_pixels(image: Tensor, weight: Tensor) -> Tensor:
    """Pixels under a weight, cropped to the box in which any of the batch's weights is above 0: (N, 3 h w)."""
    rows, columns = weight.amax((0, 2)).nonzero()[:, 0], weight.amax((0, 1)).nonzero()[:, 0]
    if not len(rows):
        return image.new_zeros(len(image), 1)
    y, x = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    count = weight.sum((1, 2)).clamp_min(1e-6).sqrt()
    return (image[:, :, y, x] * weight[:, None, y, x]).flatten(1) / count[:, None]


def landmark_positions(points: Tensor, ids: list[int], side: int) -> Tensor:
    """Chosen points as fractions of the image's side: (N, 68, 2) -> (N, 2 len(ids))."""
    return points[:, ids].flatten(1) / side


class Region(nn.Module):
    """A term over an image region, at `size` pixels.

    Args:
        regions: CelebAMask-HQ names.
        size: side to which the image is resized before the features are read.
        outside: see region_mask, as are dilate, erode and ring.
        dilate: fraction of the side.
        erode: fraction of the side.
        ring: fraction of the side.
    """

    needs: tuple[str, ...] = ()

    def __init__(
        self,
        regions: Sequence[str],
        size: int = 64,
        outside: bool = False,
        dilate: float = 0,
        erode: float = 0,
        ring: float = 0,
    ) -> None:
        super().__init__()
        region_ids(regions)
        self.regions, self.size = list(regions), at_least("size", size, 4)
        self.shape = {"outside": outside, "dilate": dilate, "erode": erode, "ring": ring}

    @property
    def label(self) -> str:
        """What a table calls this term."""
        where = "outside " if self.shape["outside"] else ""
        return f"{type(self).__name__} {where}{'+'.join(self.regions)}"

    def weight(self, analysis: Analysis) -> Tensor:
        """(N, size, size) in 0..1: the share of each pixel that belongs to the region."""
        mask = region_mask(analysis.parse, self.regions, **self.shape)  # type: ignore[arg-type]
        return F.interpolate(mask[:, None], (self.size, self.size), mode="area")[:, 0]

    def empty(self, analysis: Analysis) -> Tensor:
        """(N,) whose region has less than one pixel."""
        return self.weight(analysis).sum((1, 2)) < 1


class RegionColor(Region):
    """Mean colour of a region, 3 features."""

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 3)."""
        return region_color(resize(image, self.size), self.weight(analysis))


class RegionResidual(Region):
    """Everything but a region's mean colour."""

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 3 size size)."""
        return region_residual(resize(image, self.size), self.weight(analysis))


class RegionPixels(Region):
    """The pixels inside (or outside) a region."""

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 3 h w), the region's bounding box."""
        return region_pixels(resize(image, self.size), self.weight(analysis))


class Landmarks(nn.Module):
    """Positions of landmarks, in image sides.

    Args:
        indices: points such as "48-67".
        landmarks: the network, image -> (N, 68, 2) pixels.
        complement: all points but these.
    """

    needs: tuple[str, ...] = ("landmarks",)

    def __init__(self, indices: str, landmarks: nn.Module, complement: bool = False) -> None:
        super().__init__()
        self.ids = landmark_ids(indices, complement)
        self.landmarks = landmarks
        self.label = f"Landmarks {'not ' if complement else ''}{indices}"

    def empty(self, analysis: Analysis) -> Tensor:
        """Nobody's face lacks landmarks."""
        return torch.zeros(len(analysis.parse), dtype=torch.bool, device=analysis.parse.device)

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 2 k)."""
        return landmark_positions(self.landmarks(image), self.ids, image.shape[-1])


@dataclass(frozen=True)
class Suppress:
    """A term to keep still, and how much of its largest eigenvalue a direction may have.

    Attributes:
        term: the module.
        ratio: in (0, 1].
    """

    term: nn.Module
    ratio: float


@dataclass(frozen=True)
class Criterion:
    """Terms to activate and terms to suppress.

    Attributes:
        name: of the preset.
        description: one line.
        activate: terms whose energy is wanted.
        suppress: terms whose energy isn't.
        activate_ratio: directions above this share of the largest eigenvalue are kept.
    """

    name: str
    description: str
    activate: tuple[nn.Module, ...]
    suppress: tuple[Suppress, ...]
    activate_ratio: float = 1e-2

    def __post_init__(self) -> None:
        """Refuse ratios outside (0, 1] and a criterion that activates nothing."""
        at_least("activated terms", len(self.activate), 1)
        ratio("activate_ratio", self.activate_ratio)
        for each in self.suppress:
            ratio(f"the ratio of {type(each.term).__name__}", each.ratio)

"""Terms over image regions: mean colour, the image without it, pixels, area."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ice_lightning.checks import at_least, one_of
from ice_lightning.criterions.term import Analysis, Term
from ice_lightning.labels import REGIONS
from ice_lightning.ops.sampling import resize


def region_ids(regions: Sequence[str]) -> list[int]:
    """CelebAMask-HQ ids of region names, at least one.

    Raises:
        IceError: for none, or with the nearest name for one that there isn't.

    Example:
        >>> region_ids(["hair", "u_lip"])
        [17, 12]
    """
    at_least("regions", len(regions), 1)
    return [REGIONS.index(one_of("region", name, REGIONS)) for name in regions]


KERNELS = ("disc", "square")
"""What a region is grown and shrunk by; see region_mask."""


def _disc(radius: int, device: torch.device) -> Tensor:
    r = torch.arange(-radius, radius + 1, device=device)
    return ((r[:, None] ** 2 + r[None] ** 2) <= radius**2 + 0.5).float()


def _window(mask: Tensor, side: float) -> Tensor:
    """Largest value under a square round each pixel, zeros beyond the border.

    An even square reaches a pixel farther up and left, as in the kornia that Li et al. 2022 ran.

    Args:
        mask: (N, 1, H, W).
        side: of the square, a fraction of the image's.
    """
    pixels = max(1, int(mask.shape[-1] * side))
    before = pixels // 2
    after = pixels - before - 1
    padded = F.pad(mask, (before, after, before, after))
    return F.max_pool2d(F.max_pool2d(padded, (pixels, 1), stride=1), (1, pixels), stride=1)


def _dilated(mask: Tensor, size: float, kernel: str) -> Tensor:
    if kernel == "square":
        return _window(mask, size)
    from kornia.morphology import dilation

    return dilation(mask, _disc(round(size * mask.shape[-1]), mask.device))


def _eroded(mask: Tensor, size: float, kernel: str) -> Tensor:
    if kernel == "square":
        return -_window(-mask, size)
    from kornia.morphology import erosion

    return erosion(mask, _disc(round(size * mask.shape[-1]), mask.device))


def region_mask(
    parse: Tensor,
    regions: Sequence[str],
    outside: bool = False,
    dilate: float = 0,
    erode: float = 0,
    ring: float = 0,
    kernel: str = "disc",
) -> Tensor:
    """The pixels of some regions, grown, shrunk, turned inside out.

    Args:
        parse: (N, H, W) ids.
        regions: names.
        outside: the complement, after growing and shrinking.
        dilate: size of a dilation, fraction of the image's side.
        erode: size of an erosion, fraction of the image's side.
        ring: keep only a band of this size around the region and outside it, fraction of the image's side. (The
            published ring has the inner side of the edge as well.)
        kernel: what these sizes are of. "disc": its radius; what lies beyond the border of the image is left out.
            "square": its side, rounded down, as in Li et al. 2022, which reaches half as far; what lies beyond the
            border counts as outside of the region.

    Returns:
        (N, H, W) float, 0 or 1.

    Example:
        >>> parse = torch.tensor([[[0, 1], [17, 1]]])
        >>> region_mask(parse, ["skin"]), region_mask(parse, ["skin"], outside=True)
        (tensor([[[0., 1.],
                 [0., 1.]]]), tensor([[[1., 0.],
                 [1., 0.]]]))
    """
    mask = torch.isin(parse, torch.tensor(region_ids(regions), device=parse.device)).float()[:, None]
    if dilate:
        mask = _dilated(mask, dilate, kernel)
    if erode:
        mask = _eroded(mask, erode, kernel)
    if ring:
        mask = _dilated(mask, max(ring, 1 / parse.shape[-1]), kernel) - mask
    return 1 - mask[:, 0] if outside else mask[:, 0]


def region_color(image: Tensor, weight: Tensor) -> Tensor:
    """Mean colour under a weight.

    Args:
        image: (N, 3, S, S).
        weight: (N, S, S), 0 or more.

    Returns:
        (N, 3).

    Example:
        >>> image = torch.arange(12.0).view(1, 3, 2, 2)
        >>> region_color(image, torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
        tensor([[1.5000, 5.5000, 9.5000]])
    """
    total = weight.sum((1, 2)).clamp_min(1e-6)
    return (image * weight[:, None]).sum((2, 3)) / total[:, None]


def region_residual(image: Tensor, weight: Tensor) -> Tensor:
    """The image without the region's mean colour: texture inside, everything outside.

    What changes only the region's mean colour leaves this as it is.

    Args:
        image: (N, 3, S, S).
        weight: (N, S, S) in 0..1.

    Returns:
        (N, 3 S S), over S, so that its square sum is three times a mean.

    Example:
        >>> image, weight = torch.rand(1, 3, 4, 4), torch.ones(1, 4, 4)
        >>> torch.allclose(region_residual(image, weight), region_residual(image + 0.5, weight), atol=1e-6)
        True
    """
    rest = image - region_color(image, weight)[:, :, None, None] * weight[:, None]
    return rest.flatten(1) / (image.shape[-1])


def region_pixels(image: Tensor, weight: Tensor) -> Tensor:
    """Pixels under a weight.

    Args:
        image: (N, 3, S, S).
        weight: (N, S, S), 0 or more.

    Returns:
        (N, 3 h w), over the root of the weight's sum; cropped to the box of h by w pixels in which any of the batch's
        weights is above 0. (N, 1), zeros, where there is none.

    Example:
        >>> weight = torch.zeros(1, 8, 8)
        >>> weight[0, 2:4, 5:8] = 1
        >>> region_pixels(torch.rand(1, 3, 8, 8), weight).shape
        torch.Size([1, 18])
    """
    rows, columns = weight.amax((0, 2)).nonzero()[:, 0], weight.amax((0, 1)).nonzero()[:, 0]
    if not len(rows):
        return image.new_zeros(len(image), 1)
    y, x = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    count = weight.sum((1, 2)).clamp_min(1e-6).sqrt()
    return (image[:, :, y, x] * weight[:, None, y, x]).flatten(1) / count[:, None]


class Region(Term):
    """A term over an image region, at `size` pixels a side.

    Args:
        regions: CelebAMask-HQ names.
        size: pixels a side to which the image is resized before the features are read.
        outside: the complement, after growing and shrinking.
        dilate: size of a dilation, fraction of the image's side.
        erode: size of an erosion, fraction of the image's side.
        ring: size of a band around the region, which alone is kept, fraction of the image's side.
        kernel: disc or square, what these are sizes of; see region_mask.

    Raises:
        IceError: for a region or a kernel that there isn't.
    """

    size: int

    def __init__(
        self,
        regions: Sequence[str],
        size: int = 64,
        outside: bool = False,
        dilate: float = 0,
        erode: float = 0,
        ring: float = 0,
        kernel: str = "disc",
    ) -> None:
        super().__init__()
        region_ids(regions)
        self.regions, self.size = list(regions), at_least("size", size, 4)
        self.shape: dict[str, Any] = {"outside": outside, "dilate": dilate, "erode": erode, "ring": ring}
        self.shape["kernel"] = one_of("kernel", kernel, KERNELS)
        self.label = f"{type(self).__name__} {'outside ' if outside else ''}{'+'.join(regions)}"

    def weight(self, analysis: Analysis) -> Tensor:
        """(N, size, size) in 0..1: the share of each pixel that belongs to the region."""
        mask = region_mask(analysis.parse, self.regions, **self.shape)
        return F.interpolate(mask[:, None], (self.size, self.size), mode="area")[:, 0]

    def where(self, analysis: Analysis) -> Tensor:
        """(N, H, W), 0 or 1: the region."""
        return region_mask(analysis.parse, self.regions, **self.shape)

    def empty(self, analysis: Analysis) -> Tensor:
        """(N,) whose region has less than one pixel."""
        return self.weight(analysis).sum((1, 2)) < 1


class RegionColor(Region):
    """Mean colour of a region.

    Example:
        >>> rows = torch.tensor([17, 17, 1, 1]).view(1, 4, 1)  # hair above skin
        >>> seen = Analysis(rows.expand(1, 4, 4), torch.zeros(1, 68, 2))
        >>> image = torch.tensor([0.2, 0.2, 0.7, 0.7]).view(1, 1, 4, 1).expand(1, 3, 4, 4)
        >>> RegionColor(["hair"], size=4)(image, seen)
        tensor([[0.2000, 0.2000, 0.2000]])
    """

    features = 3

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 3)."""
        return region_color(resize(image, self.size), self.weight(analysis))


class RegionColors(Region):
    """Mean colour of several regions, each on its own; one that a person lacks has the features 0, which don't change.

    Args:
        regions: CelebAMask-HQ names.
        size: pixels a side to which the image is resized before the features are read.
        shape: dilate, erode, kernel; see region_mask.

    Example:
        >>> rows = torch.tensor([17, 17, 1, 1]).view(1, 4, 1)  # hair above skin
        >>> seen = Analysis(rows.expand(1, 4, 4), torch.zeros(1, 68, 2))
        >>> image = torch.tensor([0.2, 0.2, 0.7, 0.7]).view(1, 1, 4, 1).expand(1, 3, 4, 4)
        >>> RegionColors(["hair", "skin", "hat"], size=4)(image, seen).view(3, 3)  # nobody wears a hat
        tensor([[0.2000, 0.2000, 0.2000],
                [0.7000, 0.7000, 0.7000],
                [0.0000, 0.0000, 0.0000]])
    """

    def __init__(self, regions: Sequence[str], size: int = 64, **shape: Any) -> None:
        super().__init__(regions, size, **shape)
        self.features = 3 * len(self.regions)

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 3 k)."""
        image = resize(image, self.size)
        masks = [region_mask(analysis.parse, [name], **self.shape) for name in self.regions]
        weights = F.interpolate(torch.stack(masks, 1), (self.size, self.size), mode="area")
        return torch.cat([region_color(image, weight) for weight in weights.unbind(1)], 1)


class RegionResidual(Region):
    """The image without a region's mean colour; see region_residual.

    Example:
        >>> rows = torch.tensor([17, 17, 1, 1]).view(1, 4, 1)  # hair above skin
        >>> seen = Analysis(rows.expand(1, 4, 4), torch.zeros(1, 68, 2))
        >>> image, term = torch.rand(1, 3, 4, 4), RegionResidual(["hair"], size=4)
        >>> paler = image + 0.1 * (rows == 17)
        >>> torch.allclose(term(image, seen), term(paler, seen), atol=1e-6)
        True
    """

    @property
    def features(self) -> int:  # type: ignore[override]
        """Colours of all pixels."""
        return 3 * self.size**2

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 3 size size)."""
        return region_residual(resize(image, self.size), self.weight(analysis))


class RegionPixels(Region):
    """The pixels inside (or outside) a region.

    Example:
        >>> rows = torch.tensor([17, 17, 1, 1]).view(1, 4, 1)  # hair above skin
        >>> seen = Analysis(rows.expand(1, 4, 4), torch.zeros(1, 68, 2))
        >>> RegionPixels(["hair"], size=4)(torch.rand(1, 3, 4, 4), seen).shape  # 3 colours of 2 by 4 pixels
        torch.Size([1, 24])
    """

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 3 h w), the region's bounding box."""
        return region_pixels(resize(image, self.size), self.weight(analysis))


def region_area(probabilities: Tensor, ids: list[int]) -> Tensor:
    """Share of the image that some classes cover.

    Args:
        probabilities: (N, C, H, W), sums of 1 over the classes.
        ids: of the classes.

    Returns:
        (N, 1) in 0..1.

    Example:
        >>> region_area(torch.full((1, 4, 2, 2), 0.25), [0, 2])
        tensor([[0.5000]])
    """
    return probabilities[:, ids].sum(1).mean((1, 2))[:, None]


class RegionArea(Term):
    """How much of the image a region covers, by the parser's probabilities.

    Args:
        regions: CelebAMask-HQ names.
        parser: the network, image -> (N, 19 or more, H, W) logits.

    Example:
        >>> from ice_lightning.faces import embedded_faces
        >>> from ice_lightning.synthetic import neutral, render
        >>> people = render(neutral(1), 64)
        >>> seen = Analysis(people.parse, people.landmarks)
        >>> RegionArea(["hair"], embedded_faces().parser)(people.image, seen).round(decimals=1)  # a fifth of the image
        tensor([[0.2000]])
    """

    needs = ("parser",)
    features = 1

    def __init__(self, regions: Sequence[str], parser: nn.Module) -> None:
        super().__init__()
        self.ids, self.parser = region_ids(regions), parser
        self.label = f"RegionArea {'+'.join(regions)}"

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 1)."""
        return region_area(self.parser(image).softmax(1), self.ids)

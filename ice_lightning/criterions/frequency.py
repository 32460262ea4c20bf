"""Terms over coarse and fine detail: a region's low-pass, and what it leaves (Li et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ice_lightning.checks import at_least, problem
from ice_lightning.criterions.regions import Region, region_pixels
from ice_lightning.criterions.term import Analysis
from ice_lightning.ops.sampling import resize


def low_pass(image: Tensor, cutoff: int) -> Tensor:
    """An image without its fine detail: resized to `cutoff` pixels a side, and back.

    Args:
        image: (N, C, S, S).
        cutoff: pixels a side, below S.

    Returns:
        (N, C, S, S).

    Example:
        >>> import torch
        >>> checkerboard = torch.eye(2).repeat(4, 4)[None, None]
        >>> bool((low_pass(checkerboard, 2) - 0.5).abs().max() < 0.1)
        True
    """
    return resize(resize(image, cutoff), image.shape[-1])


def high_pass(image: Tensor, cutoff: int, relative: bool = False) -> Tensor:
    """An image's fine detail, what its low-pass leaves.

    Args:
        image: (N, C, S, S).
        cutoff: pixels a side that the low-pass keeps, below S.
        relative: as contrast, divided by the low-pass (or 0.05 where that is darker): lighter or darker paint with the
            same texture then has the same detail.

    Returns:
        (N, C, S, S).

    Example:
        >>> import torch
        >>> image = 0.5 + 0.1 * torch.rand(1, 1, 8, 8)
        >>> torch.allclose(high_pass(image, 2, True), high_pass(0.8 * image, 2, True), atol=1e-6)
        True
    """
    low = low_pass(image, cutoff)
    return image / low.clamp_min(0.05) - 1 if relative else image - low


class Frequency(Region):
    """A region's pixels, on one side of a cutoff frequency.

    Args:
        regions: CelebAMask-HQ names.
        cutoff: pixels a side that the low-pass keeps; 24 in Li et al. 2022.
        size: pixels a side to which the image is resized first.
        shape: outside, dilate, erode, ring, kernel; see region_mask.

    Raises:
        IceError: for a cutoff that isn't below the size.
    """

    def __init__(self, regions: Sequence[str], cutoff: int = 24, size: int = 128, **shape: Any) -> None:
        super().__init__(regions, size, **shape)
        self.cutoff = at_least("cutoff", cutoff, 2)
        if cutoff >= size:
            raise problem(f"a cutoff below the size {size}", cutoff, "lower the cutoff or raise the size")


class LowFrequency(Frequency):
    """The low-passed pixels of a region.

    Example:
        >>> import torch
        >>> hair = Analysis(torch.full((1, 8, 8), 17), torch.zeros(1, 68, 2))
        >>> checkerboard = torch.eye(2).repeat(4, 4).expand(1, 3, 8, 8)
        >>> grey = LowFrequency(["hair"], cutoff=2, size=8)(checkerboard, hair) * 64**0.5
        >>> bool((grey - 0.5).abs().max() < 0.1)  # 64 pixels, each over the root of 64
        True
    """

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 3 h w), the region's bounding box."""
        return region_pixels(low_pass(resize(image, self.size), self.cutoff), self.weight(analysis))


class HighFrequency(Frequency):
    """The pixels of a region less their low-pass: texture, hair strands, edges.

    Args:
        regions: CelebAMask-HQ names.
        relative: as contrast, over the low-pass: a darker skin with the same freckles has the same.
        shape: cutoff, size, outside, dilate, erode, ring, kernel; see Frequency.

    Example:
        >>> import torch
        >>> hair = Analysis(torch.full((1, 8, 8), 17), torch.zeros(1, 68, 2))
        >>> term = HighFrequency(["hair"], cutoff=4, size=8)
        >>> bool(term(torch.full((1, 3, 8, 8), 0.5), hair).abs().max() < 1e-6)  # an even colour has no detail
        True
    """

    def __init__(self, regions: Sequence[str], relative: bool = False, **shape: Any) -> None:
        super().__init__(regions, **shape)
        self.relative = relative

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 3 h w), the region's bounding box."""
        fine = high_pass(resize(image, self.size), self.cutoff, self.relative)
        return region_pixels(fine, self.weight(analysis))

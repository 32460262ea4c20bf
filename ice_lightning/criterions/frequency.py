"""Terms over coarse and fine detail: a region's low-pass, and what it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ice_lightning.checks import at_least, problem
from ice_lightning.criterions.regions import Region, region_pixels
from ice_lightning.criterions.term import Analysis
from ice_lightning.ops.sampling import resize


def low_pass(image: Tensor, cutoff: int) -> Tensor:
    """The image by way of `cutoff` pixels a side, back at its own: (N, C, S, S) -> (N, C, S, S)."""
    return resize(resize(image, cutoff), image.shape[-1])


def high_pass(image: Tensor, cutoff: int, relative: bool = False) -> Tensor:
    """What the low-pass leaves, or its share of the low-pass, which lighter or darker paint leaves where it is.

    Args:
        image: (N, C, S, S).
        cutoff: see low_pass.
        relative: over the low-pass, at least 0.05.

    Returns:
        (N, C, S, S).
    """
    low = low_pass(image, cutoff)
    return image / low.clamp_min(0.05) - 1 if relative else image - low


class Frequency(Region):
    """A region's pixels on one side of a cutoff.

    Args:
        regions: CelebAMask-HQ names.
        cutoff: pixels a side that the low-pass keeps; 24 in Li et al. 2022.
        size: side to which the image is resized first.
        shape: outside, dilate, erode, ring, kernel; see region_mask.
    """

    def __init__(self, regions: Sequence[str], cutoff: int = 24, size: int = 128, **shape: Any) -> None:
        super().__init__(regions, size, **shape)
        self.cutoff = at_least("cutoff", cutoff, 2)
        if cutoff >= size:
            raise problem(f"a cutoff below the size {size}", cutoff, "lower the cutoff or raise the size")


class LowFrequency(Frequency):
    """The low-passed pixels of a region."""

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 3 h w), the region's bounding box."""
        return region_pixels(low_pass(resize(image, self.size), self.cutoff), self.weight(analysis))


class HighFrequency(Frequency):
    """The pixels of a region less their low-pass: texture, hair strands, edges.

    Args:
        regions: CelebAMask-HQ names.
        relative: over the low-pass, as contrast: a darker skin with the same freckles keeps it.
        shape: cutoff, size, outside, dilate, erode, ring, kernel; see Frequency.
    """

    def __init__(self, regions: Sequence[str], relative: bool = False, **shape: Any) -> None:
        super().__init__(regions, **shape)
        self.relative = relative

    def forward(self, image: Tensor, analysis: Analysis) -> Tensor:
        """(N, 3, H, W) -> (N, 3 h w), the region's bounding box."""
        fine = high_pass(resize(image, self.size), self.cutoff, self.relative)
        return region_pixels(fine, self.weight(analysis))

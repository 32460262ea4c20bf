"""Image values at any positions, with forward mode."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_bilinear(image: Tensor, positions: Tensor) -> Tensor:
    """Bilinear samples by gathering, which forward mode goes through (grid_sample has none); borders are repeated.

    Args:
        image: (N, C, H, W).
        positions: (N, P, 2), (x, y) as fractions of the side, pixel centres at (i + 0.5) / side.

    Returns:
        (N, C, P); equal to grid_sample with padding_mode="border" and align_corners=False.
    """
    c, h, w = image.shape[1:]
    x = (positions[..., 0] * w - 0.5).clamp(0, w - 1)
    y = (positions[..., 1] * h - 0.5).clamp(0, h - 1)
    left, top = x.floor().clamp(max=w - 2), y.floor().clamp(max=h - 2)
    right_share, low_share = (x - left)[:, None], (y - top)[:, None]
    corner = (top * w + left).long()
    flat = image.flatten(2)

    def at(offset: int) -> Tensor:
        return flat.gather(2, (corner + offset)[:, None].expand(-1, c, -1))

    upper = at(0) + right_share * (at(1) - at(0))
    lower = at(w) + right_share * (at(w + 1) - at(w))
    return upper + low_share * (lower - upper)


def resize(image: Tensor, size: int) -> Tensor:
    """Anti-aliased bilinear resize of (N, C, H, W) to side `size`; the image itself where it already has that side.

    Rows, then columns, each by a matrix, since torch.func batches the backward pass of a product and loops over
    that of torch's own resize.
    """
    if image.shape[-2:] == (size, size):
        return image
    rows, columns = (resizing(side, size).to(image) for side in image.shape[-2:])
    return rows @ image @ columns.T


@cache
def resizing(side: int, size: int) -> Tensor:
    """(size, side) float64: what F.interpolate does to the sides of an image, anti-aliased and bilinear."""
    with torch.inference_mode(False):  # it is kept, and what comes later may be differentiated
        each = torch.eye(side, dtype=torch.float64)[None, None]
        return F.interpolate(each, (size, side), mode="bilinear", antialias=True, align_corners=False)[0, 0]

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
        positions: (N, P, 2), (x, y) as fractions of W and H, pixel centres at (i + 0.5) / W and (i + 0.5) / H.

    Returns:
        (N, C, P); equal to grid_sample with padding_mode="border" and align_corners=False.

    Example:
        >>> image = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
        >>> sample_bilinear(image, torch.tensor([[[0.5, 0.5], [0.75, 0.25]]]))
        tensor([[[1.5000, 1.0000]]])
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
    """Anti-aliased bilinear resize to a square.

    Rows, then columns, each by a matrix, since torch.func batches the backward pass of a product and loops over
    that of torch's own resize.

    Args:
        image: (N, C, H, W).
        size: pixels a side.

    Returns:
        (N, C, size, size); the image itself where it has that resolution.

    Example:
        >>> resize(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]), 1)
        tensor([[[[1.5000]]]])
    """
    if image.shape[-2:] == (size, size):
        return image
    rows, columns = (resizing(length, size).to(image) for length in image.shape[-2:])
    return rows @ image @ columns.T


@cache
def resizing(length: int, size: int) -> Tensor:
    """The matrix by which F.interpolate resizes an axis, anti-aliased and bilinear.

    Args:
        length: of the axis, in pixels.
        size: of the resized axis, in pixels.

    Returns:
        (size, length) float64, rows that add up to 1.

    Example:
        >>> resizing(2, 4)
        tensor([[1.0000, 0.0000],
                [0.7500, 0.2500],
                [0.2500, 0.7500],
                [0.0000, 1.0000]], dtype=torch.float64)
    """
    with torch.inference_mode(False):  # it is kept, and what comes later may be differentiated
        each = torch.eye(length, dtype=torch.float64)[None, None]
        return F.interpolate(each, (size, length), mode="bilinear", antialias=True, align_corners=False)[0, 0]

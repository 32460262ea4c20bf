"""Sheets of portraits, and parse maps in colours."""

from __future__ import annotations

import torch
from torch import Tensor

from ice_lightning.synthetic.render import Portraits

PALETTE = torch.tensor(
    [
        [40, 40, 48], [240, 190, 160], [120, 70, 40], [150, 90, 50], [60, 130, 230], [90, 160, 250], [20, 20, 20],
        [230, 150, 120], [230, 150, 120], [255, 220, 0], [250, 160, 110], [120, 20, 40], [220, 70, 90], [200, 40, 70],
        [210, 160, 130], [255, 200, 0], [90, 110, 160], [100, 60, 140], [0, 150, 100],
    ]
)  # fmt: skip
"""(19, 3) display colours of the regions, 0..255."""


def sheet(tiles: Tensor, columns: int) -> Tensor:
    """Pictures side by side, row by row.

    Args:
        tiles: (N, 3, S, S) in 0..1.
        columns: how many beside one another; what is left of the last row is white.

    Returns:
        (3, rows * S, columns * S).

    Example:
        >>> sheet(torch.zeros(3, 3, 4, 4), 2).shape
        torch.Size([3, 8, 8])
    """
    n, c, s, _ = tiles.shape
    rows = -(-n // columns)
    tiles = torch.cat([tiles, torch.ones(rows * columns - n, c, s, s)])
    return tiles.view(rows, columns, c, s, s).permute(2, 0, 3, 1, 4).reshape(c, rows * s, columns * s)


def overlay(people: Portraits) -> Tensor:
    """The parse map in colours with the landmarks drawn on it, (N, 3, S, S)."""
    tiles = PALETTE[people.parse].permute(0, 3, 1, 2).float() / 255
    at = people.landmarks.round().long().clamp(0, tiles.shape[-1] - 1)
    for i in range(len(tiles)):
        tiles[i, :, at[i, :, 1], at[i, :, 0]] = 1.0
    return tiles

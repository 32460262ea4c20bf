"""Shapes as signed distances, colours as ramps, and the canvas that both are painted on.

Shapes of N people in coordinates x and y (N, S, S) are made of numbers (N, 1, 1), one for each person.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ice_lightning.labels import REGIONS


def ramp(t: Tensor, *stops: tuple[float, float, float]) -> Tensor:
    """Colours on a piecewise linear ramp.

    Args:
        t: (N, 1, 1) in [-1, 1].
        stops: two or more colours, red, green and blue in 0..1, at equal distances.

    Returns:
        (N, 3, 1, 1).

    Example:
        >>> ramp(torch.tensor([[[-0.5]]]), (0, 0, 0), (1, 1, 1), (1, 0, 0)).flatten()
        tensor([0.5000, 0.5000, 0.5000])
    """
    colours = torch.tensor(stops, dtype=t.dtype, device=t.device)
    position = (t[:, 0, 0] + 1) / 2 * (len(stops) - 1)
    low = position.floor().clamp(0, len(stops) - 2).long()
    part = (position - low)[:, None]
    return (colours[low] * (1 - part) + colours[low + 1] * part)[:, :, None, None]


def rgb(like: Tensor, red: float, green: float, blue: float) -> Tensor:
    """One colour, or factor of colours, for everybody.

    Args:
        like: a tensor on the wanted device.
        red: in 0..1, as the others.
        green: in 0..1.
        blue: in 0..1.

    Returns:
        (3, 1, 1).

    Example:
        >>> rgb(torch.zeros(1), 1, 0.5, 0).flatten()
        tensor([1.0000, 0.5000, 0.0000])
    """
    return torch.tensor([red, green, blue], device=like.device)[:, None, None]


def superellipse(x: Tensor, y: Tensor, a: Tensor | float, b: Tensor | float, p: Tensor | float = 2.0) -> Tensor:
    """First-order signed distance to |x/a|^p + |y/b|^p = 1: the function over the length of its gradient.

    Args:
        x: (N, S, S), from the centre.
        y: (N, S, S), from the centre.
        a: half the width.
        b: half the height.
        p: 2 is an ellipse, more is nearer to a box.

    Returns:
        (N, S, S), negative inside.

    Example:
        >>> x, y = torch.tensor([[[2.0]]]), torch.tensor([[[0.0]]])
        >>> round(float(superellipse(x, y, 1.5, 9.0)), 3)
        0.5
    """
    u, v = (x / a).abs().clamp_min(1e-4), (y / b).abs().clamp_min(1e-4)
    r = (u**p + v**p) ** (1 / p)
    slope = ((u / r) ** (p - 1) / a).square() + ((v / r) ** (p - 1) / b).square()
    return (r - 1) * slope.rsqrt()


class Lens(NamedTuple):
    """A region between two curves that meet in both corners: an eye, a lip, an open mouth.

    Curves are y = cy + tilt * u + bend * (1 - u^2) -/+ height * (1 - u^2), u = (x - cx) / half.

    Attributes:
        cx: (N, 1, 1), the middle, as all others here.
        cy: height of the corners' middle.
        half: half the width.
        bend: by how much the middle lies below the corners.
        up: height of the upper curve above that.
        down: depth of the lower one below it.
        tilt: by how much the right corner lies below the middle of both.
    """

    cx: Tensor
    cy: Tensor
    half: Tensor
    bend: Tensor
    up: Tensor
    down: Tensor
    tilt: Tensor | float = 0.0

    def curve(self, u: Tensor, height: Tensor) -> Tensor:
        """y at u in [-1, 1]; -up gives the upper curve, down the lower one."""
        return self.cy + self.tilt * u + (self.bend + height) * (1 - u * u)

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """First-order signed distance, (N, S, S), negative inside."""
        u = (x - self.cx) / self.half
        top, bottom = self.curve(u, -self.up), self.curve(u, self.down)
        inclined = (1 + (2 * u * (self.bend.abs() + self.up.abs()) / self.half).square()).rsqrt()
        between = torch.maximum(top - y, y - bottom) * inclined
        return torch.maximum(between, (x - self.cx).abs() - self.half)

    def points(self, us: list[float], height: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(x, y) on a curve at each u; for the height see `curve`."""
        return [(self.cx + u * self.half, self.curve(torch.as_tensor(u), height)) for u in us]


class Canvas:
    """Paints layers back to front, keeping colour and label in step.

    Args:
        colour: (N, 3, S, S), the background.
        pixel: side of a pixel, in the unit of the picture's coordinates.

    Attributes:
        image: (N, 3, S, S), what has been painted so far.
        parse: (N, S, S) int64, CelebAMask-HQ ids.
    """

    def __init__(self, colour: Tensor, pixel: float) -> None:
        self.image, self.pixel = colour, pixel
        self.parse = torch.zeros_like(colour[:, 0], dtype=torch.long)

    @contextmanager
    def window(self, rows: slice, columns: slice) -> Iterator[Canvas]:
        """A canvas of some pixels, which is laid back into this one at the end."""
        part = Canvas(self.image[:, :, rows, columns], self.pixel)
        part.parse = self.parse[:, rows, columns]
        yield part
        image, parse = self.image.clone(), self.parse.clone()
        image[:, :, rows, columns], parse[:, rows, columns] = part.image, part.parse
        self.image, self.parse = image, parse

    def cover(self, distance: Tensor, soft: float = 0.0) -> Tensor:
        """Share of each pixel that lies inside a shape, (N, S, S) in 0..1.

        Args:
            distance: (N, S, S), signed, in coordinates that may be stretched against the picture's: how much it
                changes from pixel to pixel is looked up.
            soft: width of a border that is soft in itself, in the unit of the distance.
        """
        padded = F.pad(distance, (1, 1, 1, 1), mode="replicate")
        across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
        down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
        step = (0.25 * (across * across + down * down)).sqrt().clamp(0.4 * self.pixel, 4 * self.pixel)
        return (0.5 - distance / (step + soft)).clamp(0, 1)

    def shows(self, *regions: str) -> Tensor:
        """(N, S, S) bool: the pixels whose label is one of some regions'."""
        found = self.parse == REGIONS.index(regions[0])
        for region in regions[1:]:
            found = found | (self.parse == REGIONS.index(region))
        return found

    def paint(self, alpha: Tensor, colour: Tensor, region: str | None = None) -> None:
        """Put a colour over the image.

        Args:
            alpha: (N, S, S), opacity in 0..1.
            colour: broadcasts to (N, 3, S, S).
            region: what the pixels are from now on that it covers by more than half; None leaves their labels.
        """
        self.image = self.image + alpha[:, None] * (colour - self.image)
        if region is not None:
            self.parse = torch.where(alpha > 0.5, REGIONS.index(region), self.parse)

    def shine(self, alpha: Tensor, light: Tensor) -> None:
        """Add light (N, 3, S, S) to a share (N, S, S) of the image."""
        self.image = self.image + alpha[:, None] * light

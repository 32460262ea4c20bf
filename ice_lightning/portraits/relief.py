"""What rises from the face: nose, brow ridge, cheeks, lips, chin, and the sockets that lie behind it.

A sum of Gaussian hills over the frontal face. None is so steep that it hides what is behind it within the range of
yaw: slopes stay below 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Hill(NamedTuple):
    """height * exp(-((x - cx) / sx)^2 - ((y - cy) / sy)^2); numbers (N, 1, 1).

    Attributes:
        height: below 0 it is a hollow.
        cx: across the face; with `both`, of the one on the right.
        cy: down the face.
        sx: its width.
        sy: its length.
        both: whether there is one on either side.
    """

    height: Tensor
    cx: Tensor | float
    cy: Tensor
    sx: Tensor | float
    sy: Tensor | float
    both: bool = False


@dataclass(frozen=True)
class Relief:
    """Hills over the frontal face.

    Attributes:
        hills: in any order.
    """

    hills: tuple[Hill, ...]

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """By how much the face rises at points, of any shape that numbers (N, 1, 1) broadcast to."""
        total = torch.zeros_like(x + y)
        for hill in self.hills:
            u = ((x.abs() if hill.both else x) - hill.cx) / hill.sx
            w = (y - hill.cy) / hill.sy
            total = total + hill.height * torch.exp(-(u * u) - w * w)
        return total

    def with_slopes(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rise, and its slopes across and down."""
        total, across, down = (torch.zeros_like(x) for _ in range(3))
        side = torch.where(x < 0, -1.0, 1.0)
        away = x.abs()
        for hill in self.hills:
            u = ((away if hill.both else x) - hill.cx) / hill.sx
            w = (y - hill.cy) / hill.sy
            h = hill.height * torch.exp(-(u * u) - w * w)
            total = total + h
            slope = -2 * h * u / hill.sx
            across = across + (slope * side if hill.both else slope)
            down = down - 2 * h * w / hill.sy
        return total, across, down


def relief_of(f: Mapping[str, Tensor], stretch: Tensor) -> Relief:
    """The relief of people's faces.

    Args:
        f: the factors.
        stretch: by how much heights in the face are longer than usual.

    Returns:
        Their hills.
    """
    one = torch.ones_like(stretch)
    tip = (0.185 + 0.045 * f["nose_length"]) * stretch
    apart = 0.2 * (1 + 0.13 * f["eye_spacing"])
    wing = 0.056 * (1 + 0.26 * f["nose_width"])
    mouth = 0.36 * stretch
    return Relief(
        (
            Hill(0.055 + 0.028 * f["nose_bridge"], 0.0, 0.0 * one, 0.058, 0.15),
            Hill(0.108 + 0.012 * f["nose_tip"], 0.0, tip - 0.035, 0.060 * (1 + 0.22 * f["nose_tip"]), 0.085),
            Hill(0.050 * one, wing, tip - 0.005, 0.036, 0.042, both=True),
            Hill(-0.042 * one, apart, -0.06 * stretch, 0.115, 0.072, both=True),
            Hill(0.018 * one, apart, -0.06 * stretch, 0.075, 0.045, both=True),
            Hill(0.020 * one, 0.17, -0.21 * stretch, 0.16, 0.06, both=True),
            Hill(
                0.030 + 0.026 * f["cheekbones"] + 0.012 * f["smile"].clamp_min(0),
                0.27,
                0.10 * one,
                0.12,
                0.10,
                both=True,
            ),
            Hill(-0.022 - 0.020 * f["cheekbones"], 0.28, 0.30 * one, 0.10, 0.11, both=True),
            Hill(0.040 * one, 0.0, mouth, 0.20, 0.13),
            Hill(0.016 + 0.008 * f["lip_fullness"], 0.0, mouth - 0.035, 0.12, 0.028),
            Hill(0.018 + 0.010 * f["lip_fullness"], 0.0, mouth + 0.04, 0.11, 0.034),
            Hill(-0.022 * one, 0.0, mouth + 0.105, 0.12, 0.035),
            Hill(0.055 + 0.030 * f["chin"], 0.0, 0.525 * stretch, 0.12, 0.075),
        )
    )
